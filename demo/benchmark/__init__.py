"""The tab that shows how well the methods explain."""
