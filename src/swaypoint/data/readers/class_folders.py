"""Folders by class, ``CLASS/FILE`` or ``CLASS/FOLDER/FILE``: what readers of pictures and texts share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from swaypoint.data.dataset import Dataset, ReadOptions, Skipped, marked
from swaypoint.data.sampling import proportional, spaced
from swaypoint.errors import InputError, reading
from swaypoint.folder.manifest import TRAIN

SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})
"""Folders so named, with folders in them, are splits, no classes."""


Folders = dict[str, list[str]]
"""The files of each class."""


@dataclass(frozen=True)
class Layout:
    """What the files of a folder by class are.

    Attributes:
        suffixes: of their names, in small letters.
        what: how messages call them, such as ``images``.
        example: a file's name.
        others: other layouts that a folder might have, for messages.
    """

    suffixes: frozenset[str]
    what: str
    example: str
    others: str

    def takes(self, file: str) -> bool:
        """By a file's name."""
        return Path(file).suffix.lower() in self.suffixes


@dataclass(frozen=True, eq=False)
class ClassFiles:
    """The files of a folder by class.

    Attributes:
        labels: (n,) int64 indices into ``classes``; names: of the files within the folder.
        splits: (n,) names, None where the folder has no splits.
        stray: files of the layout beside the class folders.
        of: how many files there are, where these are a sample.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    names: list[str]
    splits: np.ndarray | None
    stray: tuple[Skipped, ...]
    of: int | None = None

    def beside(self, dataset: Dataset) -> Dataset:
        """``dataset``, read of these files, with what else is known of them."""
        dataset = replace(dataset, skipped=(*self.stray, *dataset.skipped), of=self.of)
        return dataset if self.splits is None else marked(replace(dataset, split=self.splits[dataset.index]))


def class_files(root: Path, options: ReadOptions, layout: Layout) -> ClassFiles:
    """The files in ``root/CLASS``, or in ``root/SPLIT/CLASS``, ``train`` first.

    Raises:
        InputError: no class folders, no such split, or other layouts.
    """
    places = _split_folders(root, options)
    parts = {split: folder_files(root / split, options, layout) for split in places}
    classes = tuple(sorted({name for found in parts.values() for name in found}))
    files: list[tuple[int, str, str]] = []
    total = sum(len(names) for found in parts.values() for names in found.values())
    for split, found in _chosen(parts, options).items():
        for name, inside in found.items():
            place = f"{split}/{name}" if split else name
            files += [(classes.index(name), f"{place}/{file}", split) for file in inside]
    loose = [(split, file) for split in places for file in loose_files(root / split, layout)]
    return ClassFiles(
        classes,
        np.array([label for label, _, _ in files]),
        [file for _, file, _ in files],
        np.array([split for _, _, split in files]) if len(places) > 1 else None,
        tuple(Skipped(str(Path(split, file)), "outside the class folders") for split, file in loose),
        of=total if options.spread and len(files) < total else None,
    )


def _chosen(parts: dict[str, Folders], options: ReadOptions) -> dict[str, Folders]:
    """The files that are read: of each split, or a sample of all."""
    if options.spread and options.limit is not None:
        counts = proportional(
            [len(names) for found in parts.values() for names in found.values()], options.limit
        )
        left = iter(counts)
        return {
            split: {
                name: [inside[i] for i in spaced(len(inside), next(left))] for name, inside in found.items()
            }
            for split, found in parts.items()
        }
    chosen = {}
    for split, found in parts.items():
        counts = shares([len(names) for names in found.values()], options.limit)
        chosen[split] = {name: found[name][:count] for name, count in zip(found, counts, strict=True)}
    return chosen


def _split_folders(root: Path, options: ReadOptions) -> list[str]:
    """The folders of the splits that are read, ``train`` first; "" where class folders lie in ``root``.

    Splits are told by their names, where each of the folders there has one and holds folders in turn.
    """
    with reading(str(root), "a directory", "check its permissions"):
        folders = _visible(root)[0]
        apart = TRAIN in folders and len(folders) > 1 and set(folders) <= SPLITS
        if not apart or not all(_visible(root / folder)[0] for folder in folders):
            return [""]
    if options.split is None:
        return sorted(folders, key=lambda folder: folder != TRAIN)
    if options.split not in folders:
        raise InputError(f"{root}: no split {options.split!r}; it has {', '.join(folders)}")
    return [options.split]


def shares(counts: list[int], limit: int | None) -> list[int]:
    """How many of each class to read, ``limit`` in all: one of each in turn, until there are enough.

    >>> shares([5, 1, 4], 6)
    [3, 1, 2]
    """
    if limit is None or limit >= sum(counts):
        return counts
    taken = [0] * len(counts)
    for position in range(max(counts)):
        for label, count in enumerate(counts):
            if position < count and sum(taken) < limit:
                taken[label] += 1
    return taken


def loose_files(root: Path, layout: Layout) -> list[str]:
    """Files of the layout in ``root`` itself, beside the class folders."""
    return [file for file in _visible(root)[1] if layout.takes(file)]


def _files(folder: Path, layout: Layout, above: str = "") -> Iterator[str]:
    """Those of the layout at any depth, ``folder/file``."""
    yield from (above + file for file in loose_files(folder, layout))
    for inner in _visible(folder)[0]:
        if not (folder / inner).is_symlink():  # which may lead in a circle
            yield from _files(folder / inner, layout, f"{above}{inner}/")


def inner_files(root: Path) -> Iterator[str]:
    """Names of the files in the folders of ``root``, at any depth, until one is enough."""
    for folder in _visible(root)[0]:
        if not (root / folder).is_symlink():  # which may lead in a circle
            yield from _visible(root / folder)[1]
            yield from inner_files(root / folder)


def folder_files(root: Path, options: ReadOptions, layout: Layout) -> dict[str, list[str]]:
    """Class name -> files of the layout in the class's folder, those deeper in it as ``folder/file``; sorted.

    Raises:
        InputError: no class folders, or other layouts.
    """
    name = str(root)
    with reading(name, "a directory", "check its permissions"):
        return _folder_files(root, options, layout, name)


def _folder_files(root: Path, options: ReadOptions, layout: Layout, name: str) -> dict[str, list[str]]:
    folders, loose, what = _visible(root)[0], loose_files(root, layout), layout.what
    suffixes = ", ".join(sorted(layout.suffixes))
    if not folders or (loose and not options.skip_bad):
        count = f"1 {what.removesuffix('s')}" if len(loose) == 1 else f"{len(loose)} {what}"
        found = f"{count} (such as {loose[0]}) outside" if loose else "no"
        remedy = "; move them into one, or leave them out with --skip-bad" if folders else ""
        raise InputError(
            f"{name}: it holds {found} class folders; expected {what} as CLASS/{layout.example},"
            f" {layout.others}{remedy}"
        )
    files_of = {}
    for folder in folders:
        inner, own = _visible(root / folder)[0], loose_files(root / folder, layout)
        if inner and (len(folders) == 1 or folder.lower() in SPLITS) and not own:
            raise InputError(
                f"{name}: the folder {folder} holds the folder {inner[0]}; expected only {what} in it, as"
                f" CLASS/{layout.example}. To read one split, pass {root / folder}"
            )
        if chosen := list(_files(root / folder, layout)):
            files_of[folder] = chosen
        elif not options.skip_bad:
            raise InputError(
                f"{name}: the class folder {folder} holds no {what}; expected {suffixes};"
                " remove it, or leave it out with --skip-bad"
            )
    if not files_of:
        raise InputError(f"{name}: its folders hold no {what}; expected {suffixes}")
    return files_of


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted names of the folders and of the files in ``folder`` that are not hidden."""
    with os.scandir(folder) as entries:
        shown = sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))
    for name, _ in shown:
        if name.encode("utf-8", "ignore").decode() != name:
            raise InputError(f"{folder}: the name {os.fsencode(name)!r} is not UTF-8 text; rename it")
    return [name for name, is_folder in shown if is_folder], [
        name for name, is_folder in shown if not is_folder
    ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
