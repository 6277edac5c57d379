"""How well a model verifies: error rates, confidence, figures, tables."""
