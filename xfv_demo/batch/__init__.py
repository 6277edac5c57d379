"""Many photos at once: aligned, embedded, and kept."""
