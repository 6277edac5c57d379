"""Error rates, confidence, intervals and faithfulness: pure functions of arrays."""
