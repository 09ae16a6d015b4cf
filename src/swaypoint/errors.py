"""The two errors a user can meet: bad input, and a missing extra."""

from __future__ import annotations

import importlib
from types import ModuleType


class InputError(ValueError):
    """The input cannot be used; the message names it, what is wrong and the remedy."""


class MissingExtra(ImportError):
    """A feature needs a package that the core does not install."""


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which extra brings it.

    Raises:
        MissingExtra: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{module.split('.')[0]} is not installed; it comes with: pip install 'swaypoint[{extra}]'"
        ) from error
