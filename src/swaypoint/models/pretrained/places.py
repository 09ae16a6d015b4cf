"""Where a pretrained model lies, a folder or a snapshot of the hub; what may be read; its fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from swaypoint.errors import InputError, reading, require

_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
_ARGUMENTS = "training_args.bin"  # which a trainer leaves, and nothing reads
_NOT_OF_THE_MODEL = (*_PICKLES, ".py", ".md", ".onnx", ".h5", ".msgpack", ".ot", ".gguf", ".tflite", ".xml")
_IGNORED = [f"*{ending}" for ending in _NOT_OF_THE_MODEL]


@dataclass(frozen=True)
class Place:
    """A model's folder, and the name that pins it."""

    name: str
    folder: Path

    def json(self, file: str) -> dict[str, Any]:
        """A JSON file of the folder; empty where there is none.

        Raises:
            InputError: it is damaged.
        """
        path = self.folder / file
        if not path.is_file():
            return {}
        with reading(path, "a JSON file", "fetch the model again"):
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError("no object")
        return found

    def check_weights(self, *, deep: bool = False) -> None:
        """Refuse a folder without safetensors; ``deep``: or with a part that has none in a folder within.

        Raises:
            InputError: its weights are pickles, or there are none.
        """
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        beside = {path.parent for path in files if path.suffix == ".safetensors"}
        for path in files:
            read = path.parent == self.folder or deep
            if read and path.suffix in _PICKLES and path.parent not in beside and path.name != _ARGUMENTS:
                raise InputError(
                    f"{self.name}: {path.relative_to(self.folder)} is a pickle, which may run any code when"
                    " it is loaded, and there are no safetensors beside it; where you trust it, load it with"
                    " its own library, save it with save_pretrained(FOLDER), and pass that folder"
                )
        if not beside:
            raise InputError(
                f"{self.name}: no *.safetensors in {self.folder}; pass what save_pretrained() wrote"
            )


def located(family: str, reference: str) -> Place:
    """The folder of a model: one on this machine, or the snapshot of ``owner/name[@revision]`` on the hub,
    fetched where it is not here yet, without pickles and without code.

    Raises:
        InputError: there is none, or it is to be fetched and cannot be.
        MissingExtra: it is on the hub, and huggingface_hub is not installed.
    """
    if os.path.isdir(reference):
        return Place(f"{family}:{reference}", Path(reference).absolute())
    if os.path.exists(reference):
        raise InputError(f"{family}:{reference} is a file; expected the folder of a model")
    if not _HUB.fullmatch(reference) or reference.startswith("."):
        raise InputError(
            f"{family}:{reference}: there is no such folder; expected one, or a name on the Hugging Face hub:"
            f" {family}:owner/name or {family}:owner/name@revision"
        )
    name, _, revision = reference.partition("@")
    folder = _snapshot(family, name, revision or None)
    return Place(f"{family}:{name}@{folder.name}", folder)


def _snapshot(family: str, name: str, revision: str | None) -> Path:
    """What is here is taken first: the same command gives the same model, with a network or without."""
    hub = require("huggingface_hub", "pretrained")
    held = _held(hub, name, revision)
    if held is not None and any(held.rglob("*.safetensors")):
        return held
    wanted = f"{family}:{name}" + (f"@{revision}" if revision else "")
    offline = (
        f"on a machine with a network run: hf download {name}{f' --revision {revision}' if revision else ''}"
        f" --local-dir FOLDER, bring the folder here and pass --model {family}:FOLDER"
    )
    try:
        return Path(hub.snapshot_download(name, revision=revision, ignore_patterns=_IGNORED))
    except Exception as error:  # of the network, the hub, the disk: each its own type, by version
        if held is not None:
            return held  # which says itself what it lacks
        kind = type(error).__name__
        if kind == "RevisionNotFoundError":
            raise InputError(
                f"{wanted}: the hub has no such revision; leave it out, or look it up"
            ) from error
        if kind in ("RepositoryNotFoundError", "GatedRepoError", "HFValidationError"):
            raise InputError(
                f"{wanted}: there is no such folder, and no such model on the hub that may be read;"
                " check its name, or sign in with: hf auth login"
            ) from error
        other = _revisions(hub, name)
        here = f"only its revision {', '.join(other)} is on this machine" if other else "not on this machine"
        raise InputError(f"{wanted}: {here}, and the hub is not reached ({kind}); {offline}") from error


def _held(hub: Any, name: str, revision: str | None) -> Path | None:
    try:
        return Path(hub.snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # not here, or no name at all: told when the hub is asked
        return None


def _revisions(hub: Any, name: str) -> list[str]:
    folder = Path(hub.constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def fingerprint(*files: Path, root: Path | None = None, also: str = "") -> str:
    """sha256 in hex over the names within ``root`` and the bytes of ``files``, and ``also``."""
    marks = []
    for path in sorted(files):
        state = path.stat()
        marks.append((path, str(path.relative_to(root)) if root else "", state.st_size, state.st_mtime_ns))
    return _digest(tuple(marks), also)


@lru_cache(maxsize=16)
def _digest(files: tuple[tuple[Path, str, int, int], ...], also: str) -> str:
    digest = hashlib.sha256(also.encode())
    for path, name, size, _ in files:
        digest.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def of_folder(place: Place, *, also: str) -> str:
    """:func:`fingerprint` of everything that a model reads of its folder."""
    files = [
        path
        for path in place.folder.rglob("*")
        if path.is_file()
        and path.suffix not in _NOT_OF_THE_MODEL
        and not any(part.startswith(".") for part in path.relative_to(place.folder).parts)
    ]
    return fingerprint(*files, root=place.folder, also=also)


@contextmanager
def loading(name: str) -> Iterator[None]:
    """A library's own loading of the model ``name``: whatever it raises becomes one InputError.

    Raises:
        InputError: it cannot be loaded.
    """
    with reading(name, "a model", "check that the folder is complete, and that its library is new enough"):
        yield
