"""From verdicts to a cleaner dataset, and whether it is better."""
