"""Whose an audit folder is: what it holds, how that differs from what is asked for, and what may be kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from swaypoint.auditing.options import AuditOptions
from swaypoint.errors import InputError
from swaypoint.folder.documents import read_json
from swaypoint.folder.manifest import AuditedData
from swaypoint.models.pretrained.base import find, is_pretrained

_ADDED = ("scores", "top", "keep_features")
"""Options that change no number of what an audit has: they say what else it holds."""
_TRAINED_BY = ("model", "flip", "seed", "validation", "folds", "device")
_FILES = (
    *("manifest.json", "findings.json", "regions.json", "regions.html", "items.arrow", "last.ckpt"),
    *("report.html", "*.parquet", "*.safetensors", ".*.*"),
)
_FOLDERS = ("scores", "partial", "models")
_WORTH = ("last.ckpt", "model.safetensors", "head.safetensors", "partial", "scores", "models/*/*")
Standing = Literal["new", "resumed", "extended", "finished"]


@dataclass(frozen=True)
class Claim:
    """What an audit finds where it is to lie.

    Attributes:
        standing: nothing; this audit, interrupted; this audit, finished, but with fewer scores or another
            top; all of it.
        options: as asked for, and the scores that are there already.
        key: of data and options, without those that only add.
    """

    standing: Standing
    options: AuditOptions
    key: str


def claim(path: Path, data: AuditedData, options: AuditOptions, *, force: bool = False) -> Claim:
    """Whether the folder ``path`` may be taken for the audit of ``data`` with ``options``.

    What an audit that failed has left there goes, but for a training that serves this one too; so does,
    with ``force``, whatever another audit has written.

    Raises:
        InputError: it holds another audit, or something else.
    """
    key, manifest = _key(data, options), path / "manifest.json"
    if not manifest.exists():
        if path.exists() and any(not name.startswith(".") for name in os.listdir(path)):
            raise InputError(f"{path} is not empty and not an audit; choose another --out")
        return Claim("new", options, key)
    held = read_json(manifest, {}, f"choose another --out, or remove {path}")
    complete = held.get("status") == "complete"
    if force:
        clear(path)
        return Claim("new", options, key)
    if held.get("key") == key and not _elsewhere(held, data):
        if not complete:
            return Claim("resumed", options, key)
        own = _own(held, options, key)
        if own.standing == "finished" or data.read is None:  # of streamed data no finished training is kept
            return own
    if not complete and _serves(held, data, options):
        return Claim("new", options, key)
    if held.get("failed"):
        clear(path)
        return Claim("new", options, key)
    resume = "" if complete else ", resume it by the command that began it,"
    raise InputError(
        f"{path} holds another audit ({'; '.join(_differences(held, data, options))});"
        f" choose another --out{resume} or overwrite it with --force"
    )


def clear(path: Path) -> None:
    """Remove what audits write to their folder; a review's verdicts stay."""
    for pattern in _FILES:
        for file in path.glob(pattern):
            if file.is_file() and file.name != ".review.key":
                file.unlink()
    for name in _FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)


def has_worth(path: Path) -> bool:
    """Whether a run that ended here has left what another can go on from."""
    return any(next(path.glob(name), None) is not None for name in _WORTH)


def arguments(options: AuditOptions) -> dict[str, Any]:
    """The options as the manifest has them."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(options), default=str))
    return found


def _key(data: AuditedData, options: AuditOptions) -> str:
    weights = options.model.weights
    content = hashlib.sha256(weights.read_bytes()).hexdigest() if weights and weights.is_file() else ""
    for one in options.model.each():
        if is_pretrained(one.name):
            content += find(one.name, one.transform).fingerprint
    asked = {name: value for name, value in arguments(options).items() if name not in _ADDED}
    return hashlib.sha256(json.dumps([data.fingerprint, asked, content]).encode()).hexdigest()


def _own(held: dict[str, Any], options: AuditOptions, key: str) -> Claim:
    known, asked = held.get("arguments", {}), arguments(options)
    earlier = tuple(name for name in known.get("scores", ()) if name not in options.scores)
    together = replace(options, scores=(*options.scores, *earlier))
    same = set(options.scores) <= set(known.get("scores", ())) and known.get("top") == options.top
    same = same and known.get("keep_features") == asked["keep_features"]
    return Claim("finished" if same else "extended", together, key)


def _serves(held: dict[str, Any], data: AuditedData, options: AuditOptions) -> bool:
    """Whether the training of an unfinished audit is that of the one asked for."""
    of, known, asked = held.get("data", {}), held.get("arguments", {}), arguments(options)
    streamed = of.get("read") is not None or data.read is not None  # these keep a head, not a training
    same = of.get("fingerprint") == data.fingerprint and all(known.get(n) == asked[n] for n in _TRAINED_BY)
    return same and not streamed and options.model.weights is None


def _elsewhere(held: dict[str, Any], data: AuditedData) -> bool:
    """Whether an audit is of another source, of the same content perhaps; one that has moved is the same."""
    earlier, now = _path(held.get("data", {})), "" if data.origin is None else str(data.origin["path"])
    if not earlier or not now or earlier == now:
        return False
    if not os.path.isabs(earlier):  # a name
        return True
    return os.path.exists(earlier) and not (os.path.exists(now) and os.path.samefile(earlier, now))


def _path(of: dict[str, Any]) -> str:
    return str((of.get("origin") or {}).get("path") or "")


def _differences(held: dict[str, Any], data: AuditedData, options: AuditOptions) -> list[str]:
    """What the audit in a folder has other than the one asked for."""
    of, found = held.get("data", {}), []
    if _elsewhere(held, data):
        found.append(f"of {_path(of)}, not of {_path(asdict(data))}")
    elif (of.get("of"), of.get("points")) != (data.of, data.points) and (of.get("of") or data.of):
        found.append(f"{_look(of.get('points'), of.get('of'))}, not {_look(data.points, data.of)}")
    elif of.get("fingerprint") != data.fingerprint:
        found.append(f"of {data.name} as it was before, or as it was read before")
    streamed = of.get("read") is not None
    if streamed != (data.read is not None):
        found.append("streamed, where this one is not, or the reverse, see --max-memory")
    known, asked = dict(_flat(held.get("arguments", {}))), dict(_flat(arguments(options)))
    for name, value in asked.items():
        if (streamed or name not in _ADDED) and known.get(name) != value:
            option = name.split(".")[-1].replace("_", "-")
            option = "model" if name == "model.name" else option
            found.append(f"--{option} was {_said(known.get(name))}, is {_said(value)}")
    return found or ["of other weights, or by another version of swaypoint"]


def _look(points: int | None, of: int | None) -> str:
    return "of all records" if of is None else f"a first look at {points:,} of {of:,} records"


def _said(value: Any) -> str:
    return "none" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
