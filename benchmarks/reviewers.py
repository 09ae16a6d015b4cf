"""Many reviewers at once on one review: how long each waits, and that no verdict is lost or given twice.

``python -m benchmarks.reviewers --store postgresql://USER:PASSWORD@HOST/DATABASE`` prints the figures;
without ``--store`` the log is an SQLite file in the audit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx

from benchmarks.made_review import made_audit, memory, serving
from swaypoint.review.log.store import open_store

FEATURES = 4
COMING = 10.0
"""Seconds in which everybody comes in; they are not measured."""
PATIENCE = 300.0
_WAITING = re.compile(r'data-id="(\w+)".*?data-seq="(\d+)".*?data-waiting="(\w*)"', re.DOTALL)


@dataclass
class Waits:
    """Seconds that reviewers waited, and the verdicts that the server said it has."""

    deals: list[float] = field(default_factory=list)
    verdicts: list[float] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)


async def reviewer(
    base: str, token: str, name: str, waits: Waits, *, begin: float, end: float, pace: float
) -> None:
    """Deals and verdicts, one after the other, with ``pace`` seconds between them on average."""
    generator = random.Random(name)
    # An address of its own each, as from machines of their own: how often one may try to come in is limited.
    number = int(name.rpartition(" ")[2])
    machine = httpx.AsyncHTTPTransport(local_address=f"127.0.{1 + number // 250}.{1 + number % 250}")
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE, transport=machine) as client:
        await asyncio.sleep(generator.uniform(0.0, COMING))
        page = await client.get("/open", params={"token": token})
        assert page.status_code == 200, page.text
        page = await client.get("/item", params={"status": "open"})
        csrf = re.search(r'name="csrf" content="(\w+)"', page.text)
        assert csrf is not None
        headers = {"x-swaypoint-csrf": csrf[1]}
        while time.monotonic() < end:
            found = _WAITING.search(page.text)
            if found is None:
                return  # nothing is left
            item, seq, following = found.groups()
            await asyncio.sleep(generator.expovariate(1.0 / pace))
            verdict = {"id": str(uuid4()), "do": "decide", "item": item, "verdict": "correct", "way": "queue"}
            start = time.monotonic()
            answer = await client.post("/actions", json={"actions": [verdict]}, headers=headers)
            saved = time.monotonic()
            if answer.status_code != 200:
                waits.refused[answer.status_code] += 1
                continue
            waits.kept.append((name, item))
            there = {"at": following, "seq": seq} if following else {}
            page = await client.get("/item", params={"status": "open"} | there)
            dealt = time.monotonic()
            if page.status_code != 200:
                waits.refused[page.status_code] += 1
                page = await client.get("/item", params={"status": "open"})
            if start > begin + COMING:
                waits.verdicts.append(saved - start)
                waits.deals.append(dealt - saved)


async def everybody(address: str, count: int, seconds: float, pace: float) -> Waits:
    """``count`` reviewers, each invited by the owner under a name."""
    base, _, token = address.partition("/open?token=")
    waits = Waits()
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE) as owner:
        await owner.get("/open", params={"token": token})
        start = time.monotonic()
        page = await owner.get("/item", params={"status": "open"})
        print(f"first item: {time.monotonic() - start:.2f} s")
        start = time.monotonic()
        await owner.get("/gallery")
        print(f"first grid: {time.monotonic() - start:.2f} s")
        csrf = re.search(r'name="csrf" content="(\w+)"', page.text)
        assert csrf is not None
        tokens = []
        for i in range(count):
            sent = {"json": {"name": f"reviewer {i}"}, "headers": {"x-swaypoint-csrf": csrf[1]}}
            while (answer := await owner.post("/invite", **sent)).status_code == 429:
                await asyncio.sleep(1.0)
            tokens.append(answer.json()["address"].partition("token=")[2])
    begin = time.monotonic()
    end = begin + seconds
    await asyncio.gather(
        *(
            reviewer(base, one, f"reviewer {i}", waits, begin=begin, end=end, pace=pace)
            for i, one in enumerate(tokens)
        )
    )
    return waits


def check(path: Path, store: str | None, waits: Waits) -> None:
    """What was said to be kept is in the log, once, and its chain is whole."""
    log = open_store(store or path / "review.sqlite")
    try:
        log.verify()
        events = log.since(json.loads((path / "manifest.json").read_text())["key"])
    finally:
        log.close()
    kept = Counter((event.actor, event.item) for event in events)
    lost = [one for one in waits.kept if not kept[one]]
    twice = sum(count > 1 for count in Counter(event.item for event in events).values())
    print(f"{len(events):,} verdicts in the log, verified; {len(lost)} lost; {twice} points judged by two")
    assert not lost


def spread(values: list[float]) -> str:
    cuts = statistics.quantiles([1000 * value for value in values], n=100)
    most = f"{cuts[94]:.0f} of 95 %, {cuts[98]:.0f} of 99 %, {1000 * max(values):.0f} at most"
    return f"{cuts[49]:.0f} ms median, {most}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument(
        "--pace", type=float, default=3.0, help="seconds between two verdicts of one reviewer"
    )
    parser.add_argument("--store", help="postgresql://…; of a database without a log of this audit")
    parser.add_argument("--audit", type=Path, help="one that was made before, or where it is to be made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Beside those of an earlier run, whose log the database had, this one would seem to be cut off.
        os.environ["SWAYPOINT_KEYS"] = str(Path(folder) / "keys")
        path = options.audit or Path(folder) / "audit"
        if not path.exists():
            made_audit(path, options.points, FEATURES, pictures=False)
        stored = ("--store", options.store) if options.store else ()
        with serving(path, "--reviewer", "owner", *stored) as (address, pid):
            local = re.sub(r"//[^/:]+", "//127.0.0.1", address)  # no client but a browser knows that name
            waits = asyncio.run(everybody(local, options.reviewers, options.seconds, options.pace))
            print(f"verdict kept: {spread(waits.verdicts)}")
            print(f"next point: {spread(waits.deals)}")
            print(
                f"{len(waits.kept) / options.seconds:.1f} verdicts a second; refused: {dict(waits.refused)}"
            )
            print(f"server memory: {memory(pid)['VmRSS']:.0f} MB")
        check(path, options.store, waits)


if __name__ == "__main__":
    main()
