"""Sources, batches, shards."""
