"""Four rings of tests: as it lies, every combination, generated and used, proofs."""
