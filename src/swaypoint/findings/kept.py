"""Findings kept in the audit's folder: looked for once, at the end of the audit, and read by whatever shows
them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from swaypoint.errors import InputError, MissingExtra, shortened
from swaypoint.findings import base
from swaypoint.findings.base import SEVERITIES, Finding, Found, Said, asked, ranked
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.documents import read_json
from swaypoint.folder.writing import write_json

FILE = "findings.json"
_AUDIT = "AUDIT"  # in a command of a kept remedy, as the folder may move
_SHAPE = {
    "key": str,
    "notes": [str],
    "finders": [
        {
            "name": str,
            "note": (str, None),
            "findings": [
                {
                    "name": str,
                    "sentence": str,
                    "severity": set(SEVERITIES),
                    "evidence": {},
                    "index": [int],
                    "remedy": str,
                }
            ],
        }
    ],
}
Weighing = Callable[[Sequence[Finding]], tuple[Sequence[Mapping[str, float]], Sequence[str]]]
"""Of findings, the most severe first: further evidence of each, and notes on what could not be measured."""


def found(folder: AuditFolder) -> Found:
    """The findings of an audit, as ``findings.json`` of its folder has them.

    What that lacks is looked for now, and kept where the folder can be written: all of it, where it is
    missing, damaged or of another audit; else what finders find that are not named in it, or could not look
    then. A finder that fails leaves a note.

    Raises:
        InputError: no finished audit, or a damaged one.
    """
    key, points = folder.manifest().key, ranked(folder)
    kept, notes = _read(folder, key, points)
    said = {
        name: kept[name] if name in kept and kept[name].note is None else _say(name, folder, points)
        for name in base.findings
    }
    if said != kept:
        with suppress(OSError, InputError):  # of a folder that is not ours, or a full disk
            _write(folder, key, said, notes)
    return Found.of(said, notes)


def keep(folder: AuditFolder, weigh: Weighing | None = None) -> Found:
    """Look for everything anew, and write ``findings.json``, whole or not at all.

    Args:
        weigh: adds to the evidence what is best measured while the audit is at work.

    Raises:
        InputError: no finished audit, or the disk is full.
    """
    key, points = folder.manifest().key, ranked(folder)
    said = {name: _say(name, folder, points) for name in base.findings}
    notes: tuple[str, ...] = ()
    if weigh is not None:
        every = Found.of(said).findings
        further, lines = weigh(every)
        more = {id(finding): evidence for finding, evidence in zip(every, further, strict=True)}
        said = {
            name: replace(
                one,
                findings=tuple(
                    replace(each, evidence={**each.evidence, **more[id(each)]}) for each in one.findings
                ),
            )
            for name, one in said.items()
        }
        notes = tuple(lines)
    _write(folder, key, said, notes)
    return Found.of(said, notes)


def forget(folder: AuditFolder, name: str) -> None:
    """Drop what the finder ``name`` found, as what it depends on has changed: it is asked anew.

    Raises:
        InputError: no finished audit, or the disk is full.
    """
    key = folder.manifest().key
    kept, notes = _read(folder, key, ranked(folder))
    if kept.pop(name, None) is not None:
        _write(folder, key, kept, notes)


def _say(name: str, folder: AuditFolder, points: int) -> Said:
    try:
        return asked(name, folder, points)
    except (InputError, MissingExtra) as error:
        return Said((), f"{name}: {error}")
    except Exception as error:  # another's code: whatever it raises, the audit stands
        return Said((), f"{name}: {shortened(f'{type(error).__name__}: {error}')}")


def _read(folder: AuditFolder, key: str, points: int) -> tuple[dict[str, Said], tuple[str, ...]]:
    """By the finder's name; empty where there is nothing that can be used."""
    file = folder.path / FILE
    if not file.is_file():
        return {}, ()
    try:
        stored = read_json(file, _SHAPE, "it is made anew")
        kept = {
            one["name"]: Said(tuple(_loaded(each, folder.path) for each in one["findings"]), one["note"])
            for one in stored["finders"]
        }
    except (InputError, ValueError, KeyError, TypeError, OverflowError):
        return {}, ()
    every = [finding for one in kept.values() for finding in one.findings]
    places = [value for one in every for value in vars(one).values() if isinstance(value, np.ndarray)]
    whole = all(not len(index) or 0 <= index.min() <= index.max() < points for index in places)
    return (kept, tuple(stored["notes"])) if whole and stored["key"] == key else ({}, ())


def _write(folder: AuditFolder, key: str, said: Mapping[str, Said], notes: Sequence[str]) -> None:
    finders = [
        {
            "name": name,
            "note": one.note,
            "findings": [_stored(finding, folder.path) for finding in one.findings],
        }
        for name, one in said.items()
    ]
    write_json(folder.path / FILE, {"key": key, "notes": list(notes), "finders": finders})


def portable(remedy: str, path: Path) -> str:
    """With ``AUDIT`` in its commands for where the folder lies.

    >>> portable("see to it: swaypoint review /home/ada/photos; then stop", Path("/home/ada/photos"))
    'see to it: swaypoint review AUDIT; then stop'
    """
    return re.sub(rf"(\bswaypoint [a-z-]+) {re.escape(str(path))}(?=[\s,;.]|$)", rf"\1 {_AUDIT}", remedy)


def _stored(finding: Finding, path: Path) -> dict[str, Any]:
    return finding.described() | {"remedy": portable(finding.remedy, path)}


def _loaded(value: Mapping[str, Any], path: Path) -> Finding:
    """Of what :func:`_stored` gave; positions are lists of whole numbers in it."""
    known: dict[str, Any] = {}
    for field in fields(Finding):
        if field.name in value or field.default is MISSING:
            given = value[field.name]
            known[field.name] = np.array(given, dtype=np.int64) if isinstance(given, list) else given
    known["evidence"] = {
        name: float("nan") if number is None else float(number) for name, number in known["evidence"].items()
    }
    command = rf"(\bswaypoint [a-z-]+) {_AUDIT}\b"
    known["remedy"] = re.sub(command, lambda match: f"{match[1]} {path}", known["remedy"])
    return Finding(**known)
