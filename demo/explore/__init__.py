"""The tab that shows a whole data set: what a model decides on its pairs, and why."""
