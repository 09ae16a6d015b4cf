"""The study's numbers over all seeds, and as the tables that the documentation shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from swaypoint.studies.intervals import interval
from swaypoint.studies.markdown import markdown
from swaypoint.studies.pieces import Cell

_FITTED = ("train_accuracy", "validation_accuracy", "loss", "gradient", "steps")


def summarise(problems: dict[str, list[Cell]], flips: Sequence[Cell]) -> dict[str, Any]:
    """What ``toy.json`` holds: each measurement as mean, 95 % interval and the values by seed."""
    return {
        "problems": {name: _problem([cell.measured for cell in cells]) for name, cells in problems.items()},
        "flip": _flip([cell.measured for cell in flips]),
    }


def _over(values: Sequence[float]) -> dict[str, Any]:
    return asdict(interval(values))


def _problem(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = [cell["found"] for cell in measured]
    names = [name for name in found[0] if all(name in other for other in found)]
    return {
        **{name: _over([cell[name] for cell in measured]) for name in _FITTED},
        "verdicts": Counter(cell["verdict"] for cell in measured),
        "checks": [cell["checks"] for cell in measured],
        "found": {name: _over([other[name] for other in found]) for name in names},
    }


def _flip(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    records = [cell["records"] for cell in measured]
    ranks = [[record["rank"] for record in one] for one in records]
    epochs = [record["epoch"] for record in records[0]]

    def through(name: str) -> list[dict[str, Any]]:
        return [_over([one[number][name] for one in records]) for number in range(len(epochs))]

    return {
        "epochs": epochs,
        "rank": ranks,
        "rank_by_loss": [[record["rank_by_loss"] for record in one] for one in records],
        "first_from": [epochs[first_from(rank)] if rank[-1] == 1 else None for rank in ranks],
        "rank_weak_l2": [cell["weak"]["rank"] for cell in measured],
        "share_weak_l2": _over([cell["weak"]["share"] for cell in measured]),
        "share": through("share"),
        "near_ratio": through("near"),
        "outermost_ratio": through("outermost"),
        "verdicts": [Counter(one[number]["verdict"] for one in records) for number in range(len(epochs))],
        "doubts": [
            Counter(name for one in records for name in one[number]["doubts"])
            for number in range(len(epochs))
        ],
        **{name: _over([cell["fit"][name] for cell in measured]) for name in ("loss", "gradient", "steps")},
    }


def first_from(ranks: Sequence[int]) -> int:
    """The first record from which on the rank is 1 to the end; one past the last where it is not.

    >>> first_from([1, 7, 1, 1])
    2
    """
    later = [number for number, rank in enumerate(ranks) if rank != 1]
    return later[-1] + 1 if later else 0


def tables(summary: dict[str, Any]) -> str:
    """The tables of ``docs/toy.md`` in Markdown, from what :func:`summarise` gives."""
    return "\n\n".join([_fits(summary["problems"]), _tops(summary["problems"]), _training(summary["flip"])])


def _fits(problems: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{100 * found['train_accuracy']['mean']:.1f} %",
            f"{100 * found['validation_accuracy']['mean']:.1f} %",
            f"{max(found['gradient']['values']):.0e}",
            ", ".join(f"{verdict} {count}" for verdict, count in sorted(found["verdicts"].items())),
        ]
        for name, found in problems.items()
    ]
    names = ["problem", "train accuracy", "validation accuracy", "largest gradient norm", "fit for influence"]
    return markdown(names, rows)


_WANTED = {
    "near": "near the boundary",
    "stretch": "in the watched stretch",
    "noisy": "in the noisy band",
    "wrong": "of a wrong label",
}


def _tops(problems: dict[str, Any]) -> str:
    rows = []
    for name, found in problems.items():
        for key, words in _WANTED.items():
            if f"{key}_top" in found["found"]:
                of = {part: found["found"][f"{key}_{part}"] for part in _PARTS}
                share = f"{100 * of['top']['mean']:.0f} %"
                base = f"{100 * of['base']['mean']:.1f} %"
                rows.append([name, words, share, base, _spread(of["ratio"]), _spread(of["ratio_by_loss"])])
    names = ["problem", "points", "of the top 5 %", "of all", "ratio", "ratio by loss"]
    return markdown(names, rows)


_PARTS = ("top", "base", "ratio", "ratio_by_loss")


def _training(flip: dict[str, Any]) -> str:
    shown = [n for n, epoch in enumerate(flip["epochs"]) if epoch in _SHOWN]
    rows = []
    for n in [*shown, len(flip["epochs"]) - 1]:
        ranks = ", ".join(str(of_seed[n]) for of_seed in flip["rank"])
        share = f"{100 * flip['share'][n]['mean']:.0f} %"
        ratios = [_spread(flip[name][n]) for name in ("outermost_ratio", "near_ratio")]
        rows.append([flip["epochs"][n], ranks, share, *ratios])
    names = [
        "epoch",
        "rank of the flipped point",
        "its share",
        "outermost tenth",
        "tenth at the boundary",
    ]
    return markdown(names, rows)


_SHOWN = ("0", "2", "4", "8", "16", "30", "60")


def _spread(value: dict[str, Any]) -> str:
    return f"{value['mean']:.1f} ({value['low']:.1f} to {value['high']:.1f})"
