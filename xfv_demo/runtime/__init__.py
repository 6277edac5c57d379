"""What surrounds a run: files, paths, the console, processes, provenance."""
