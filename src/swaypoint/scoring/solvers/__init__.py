"""Inverses of a curvature, one a file."""
