"""Face-verification models: what is asked of them, how they are found, loaded and run."""
