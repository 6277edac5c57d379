"""How long explanations take: timings, tables."""
