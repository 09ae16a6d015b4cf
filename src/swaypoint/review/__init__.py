"""The human step: verdicts on the top of a ranking, kept for good, and a cleaner dataset from them."""
