"""Readers: from a path, a URL or a name to records."""
