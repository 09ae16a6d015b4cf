"""Default models and their training, by Lightning."""
