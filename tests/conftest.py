"""Fixtures that several files share, made once a session."""

from review_audit import audited, audited_hostile, audited_rows, folder  # noqa: F401
