"""Four rings of tests: the template as it lies, every combination, generated services, proofs."""
