"""The page in which a person works through a ranking."""
