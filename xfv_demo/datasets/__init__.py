"""Labelled sets of photos: where they lie, how they are read, which pairs they hold."""
