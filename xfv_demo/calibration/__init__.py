"""From distances to thresholds and confidences."""
