"""The tab that compares two photos."""
