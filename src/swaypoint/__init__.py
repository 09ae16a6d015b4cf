"""swaypoint finds the training points that sway a model."""
