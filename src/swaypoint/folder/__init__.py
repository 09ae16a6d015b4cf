"""What lies on disk: the audit folder, and the documents in it."""
