"""What holds of the whole dataset."""
