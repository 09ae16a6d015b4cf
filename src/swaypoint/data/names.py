"""What a source's name says before anything is read, or imported to read it."""

from __future__ import annotations

import os
import re

from swaypoint.errors import InputError

_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def is_hub_name(source: str) -> bool:
    """Whether ``source`` can be a dataset of the Hugging Face hub, ``owner/name``, and is not rather a path:
    one that exists, has the suffix of a file, or lies in a folder that exists.

    >>> is_hub_name("uoft-cs/cifar10"), is_hub_name("phtos/"), is_hub_name("data/table.csv")
    (True, False, False)
    """
    owner, _, name = source.partition("/")
    if not _HUB.fullmatch(source) or os.path.splitext(name)[1]:
        return False
    return not (os.path.exists(source) or os.path.isdir(owner))


def check_there(source: str) -> None:
    """Refuse a path at which there is nothing, or an audit.

    Raises:
        InputError: there is nothing, and no reader knows ``source`` by its name; or an audit folder.
    """
    if all(os.path.isfile(os.path.join(source, name)) for name in ("manifest.json", "head.safetensors")):
        raise InputError(
            f"{source} is an audit, not a dataset; look at it by `swaypoint show {source}`, or pass its data"
        )
    if ":" in source or is_hub_name(source) or os.path.exists(source):
        return
    from importlib.metadata import entry_points  # takes as long to import as all of this file

    if not entry_points(group="swaypoint.readers"):  # which may take any name
        raise absent(source)


def absent(source: str) -> InputError:
    """What to say where there is nothing."""
    return InputError(f"{source} does not exist; expected a dataset's file, directory or hub name")
