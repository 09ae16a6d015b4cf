"""How strangers join: names that other packages may add to."""

from swaypoint.extending.registry import Registry

__all__ = ["Registry"]
