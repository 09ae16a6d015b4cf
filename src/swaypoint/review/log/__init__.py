"""The log of verdicts: who decided what, and what follows from it."""
