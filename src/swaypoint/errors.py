"""The two errors a user can meet, bad input and a missing extra, and how a broken file becomes the first."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType


class InputError(ValueError):
    """The input cannot be used; the message names it, what is wrong and the remedy."""


class MissingExtra(ImportError):
    """A feature needs a package that the core does not install."""


def not_an_audit(path: object) -> InputError:
    """What to say of a folder without an audit."""
    return InputError(f"{path} is not an audit folder; make one with: swaypoint audit DATA --out {path}")


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which extra brings it.

    Raises:
        MissingExtra: the module is not installed.
    """
    try:
        with warnings.catch_warnings():
            # tqdm's, which many libraries import, in a notebook without widgets; its bars are not shown.
            warnings.filterwarnings("ignore", "IProgress not found")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{module.split('.')[0]} is not installed; it comes with: pip install 'swaypoint[{extra}]'"
        ) from error


@contextmanager
def told(what: str, remedy: str) -> Iterator[None]:
    """Library calls: whatever they raise becomes one InputError, ``what`` (its kind and words); ``remedy``.

    Libraries raise nearly anything (ArrowInvalid, OSError, KeyError, BadZipFile, zlib.error, SyntaxError,
    RecursionError for nested JSON, MemoryError for an absurd length, ...), so the net is wide; keep the block
    to the library call, so that our own mistakes stay visible.

    Raises:
        InputError: the block raised anything but InputError or MissingExtra.
    """
    try:
        yield
    except (InputError, MissingExtra):
        raise
    except Exception as error:
        detail = shortened(f"{type(error).__name__}: {error}")
        raise InputError(f"{what} ({detail}); {remedy}") from error


def reading(name: object, what: str, remedy: str) -> AbstractContextManager[None]:
    """:func:`told` of the file ``name``, that should be ``what``."""
    return told(f"{name}: not {what} that can be read", remedy)


def shortened(text: str, length: int = 200) -> str:
    """``text`` on one line of at most ``length`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
