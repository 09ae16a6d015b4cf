"""What is differentiated: losses, heads, whole models."""
