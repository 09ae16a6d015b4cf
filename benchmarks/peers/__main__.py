"""``python -m benchmarks.peers``: measures what is not measured yet, prints and writes the table.

Rounds go over all workloads and peers in turn, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.peers.environments import NotInstalledError, python
from benchmarks.peers.features import Features, read_features
from benchmarks.peers.measuring import Limits, Measured, Peer, measure
from benchmarks.peers.table import Row, accuracy, documents, markdown, ratio
from benchmarks.peers.workloads import WORKLOADS, Workload, of_features, prepare

OWN = "swaypoint_call"
ADAPTERS = (
    OWN,
    "swaypoint_core",
    "swaypoint_ekfac",
    "pydvl",
    "captum",
    "laplace",
    "curvlinops",
    "torch_influence",
    "dattri",
    "kronfluence",
    "influenciae",
    "mislabeled",
    "cleanlab",
)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--features", type=Path, help="workload W5: .npz, or a cell of the CIFAR-10 study")
    parser.add_argument("--images", type=Path, help="train.parquet of the study, for the labels of a cell")
    parser.add_argument("--workloads", nargs="+", metavar="W", help="only these")
    parser.add_argument("--peers", nargs="+", choices=ADAPTERS, metavar="P", help="only these and swaypoint")
    parser.add_argument("--rounds", type=int, default=3)
    limit = "seconds of one process, 600; a peer that took as long in all is not repeated"
    parser.add_argument("--limit", type=float, default=600, help=limit)
    parser.add_argument("--memory", type=float, default=16, help="GB of one process, 16")
    parser.add_argument("--scale", type=float, default=1, help="share of the points, to try it out")
    parser.add_argument("--folder", type=Path, default=Path("peers"), help="arrays, results and table")
    parser.add_argument("--environments", type=Path, default=Path("peers-env"))
    parser.add_argument("--install", action="store_true", help="make the environments and stop")
    return parser.parse_args(arguments)


def main() -> None:
    chosen = options()
    peers = [Peer.named(name) for name in ADAPTERS if not chosen.peers or name in {OWN, *chosen.peers}]
    pythons = installed(peers, chosen.environments.resolve())
    if chosen.install:
        return
    features = read_features(chosen.features, chosen.images) if chosen.features else None
    if features and chosen.scale < 1:
        features = features.first(round(chosen.scale * len(features.given)))
    works = workloads(chosen, features)
    rows, machine = measured(chosen, works, peers, pythons, features), describe()
    titles = {work.name: work.described() for work in works}
    how = f"medians of up to {chosen.rounds} rounds, processes stopped after {chosen.limit:,.0f} s"
    text = f"{machine}; {how}\n\n{markdown(rows, titles)}"
    print(text)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    (chosen.folder / "peers.md").write_text(text)
    document = {"machine": machine, "workloads": titles, "rows": documents(rows)}
    (chosen.folder / "peers.json").write_text(json.dumps(document, indent=1))


def installed(peers: Sequence[Peer], folder: Path) -> dict[str, Path | str]:
    """By adapter: its python, or why there is none."""
    found: dict[str, Path | str] = {}
    for peer in peers:
        try:
            found[peer.name] = python(peer.environment, folder)
        except NotInstalledError as error:
            found[peer.name] = f"not installed: {error}"
            print(f"{peer.title}: {found[peer.name]}", file=sys.stderr)
    return found


def workloads(chosen: argparse.Namespace, features: Features | None) -> list[Workload]:
    works = [work.scaled(chosen.scale) for work in WORKLOADS]
    if features:
        works += of_features(features)
    return [work for work in works if not chosen.workloads or work.name in chosen.workloads]


def measured(
    chosen: argparse.Namespace,
    works: Sequence[Workload],
    peers: Sequence[Peer],
    pythons: dict[str, Path | str],
    features: Features | None,
) -> list[Row]:
    folder, limits = chosen.folder.resolve(), Limits(chosen.limit, chosen.memory * 1e9)
    arrays = {}
    for work in works:
        print(f"arrays and truth of {work.described()}", flush=True)
        arrays[work.name] = prepare(work, folder / "arrays", features if work.name in ("W5", "R5") else None)
    rounds: dict[tuple[str, str], list[Measured]] = {}
    for number in range(chosen.rounds):
        for work in works:
            for peer in peers:
                executable, so_far = pythons[peer.name], rounds.setdefault((work.name, peer.name), [])
                if work.task not in peer.module.METHODS or isinstance(executable, str):
                    continue
                if so_far and (so_far[-1].failure or sum(one.seconds for one in so_far) > chosen.limit):
                    continue
                print(f"round {number + 1}, {work.name}: {peer.name}", end=" ", flush=True)
                one = measure(peer, work, executable, arrays[work.name], folder / "rounds", number, limits)
                print(one.failure or f"{one.seconds:.2f} s", flush=True)
                so_far.append(one)
    return [
        row(work, peer, pythons[peer.name], rounds[work.name, peer.name], rounds[work.name, OWN], arrays)
        for work in works
        for peer in peers
        if work.task in {*peer.module.METHODS, *peer.cannot}
    ]


def row(
    work: Workload,
    peer: Peer,
    executable: Path | str,
    rounds: Sequence[Measured],
    own: Sequence[Measured],
    arrays: dict[str, Path],
) -> Row:
    """A failure in a later round than the first fails the peer: medians are of all rounds."""
    method = peer.module.METHODS.get(work.task, "")
    if not method:
        return Row(work.name, peer.title, failure=peer.cannot[work.task])
    if isinstance(executable, str):
        return Row(work.name, peer.title, method, failure=executable)
    if rounds[-1].failure:
        return Row(work.name, peer.title, method, failure=rounds[-1].failure)
    seconds = [one.seconds for one in rounds]
    figures = accuracies(work, peer, rounds[-1], arrays[work.name])
    return Row(
        work.name,
        f"{peer.title} {rounds[-1].version}",
        method,
        float(np.median(seconds)),
        ratio(seconds, [one.seconds for one in own]),
        max(one.peak for one in rounds),
        *figures,
        rounds=len(rounds),
    )


def accuracies(work: Workload, peer: Peer, one: Measured, arrays: Path) -> tuple[float, float, float]:
    """Against the truth with the peer's ridge, where there is one of all points."""
    if work.task == "rank" or one.values is None:
        return np.nan, np.nan, np.nan
    truth = np.load(arrays / "truth.npz")
    ridged = peer.module.RIDGE > 0 and "ridged" in truth.files
    return accuracy(one.values, truth["ridged" if ridged else "values"], truth["rows"])


if __name__ == "__main__":
    main()
