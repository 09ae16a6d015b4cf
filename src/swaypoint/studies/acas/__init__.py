"""Collision avoidance: two open tables of horizontal advisories."""
