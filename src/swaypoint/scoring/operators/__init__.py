"""Linear algebra of heads: no model, no data."""
