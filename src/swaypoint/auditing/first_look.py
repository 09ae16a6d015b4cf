"""A first look: as many records as a few minutes allow, found by auditing a few of them with the clock."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swaypoint.data.dataset import Dataset
from swaypoint.data.sampling import sampled
from swaypoint.folder.documents import REMEDY, read_json
from swaypoint.models.loop import said

PROBE = 2000
"""Records that are read to be timed."""
_FIRST = 200  # of a trial; a record of each class at least, and one to hold out
_WORTH, _DEAR = 0.1, 0.3  # shares of the time: from which on a trial says enough, or even the first one must
_FIXED = 0.8  # of a trial at most, which would not grow with the records


@dataclass(frozen=True)
class Pace:
    """What an audit takes: ``fixed`` seconds, and ``each`` for a record."""

    fixed: float
    each: float

    def records(self, seconds: float) -> int:
        """How many records, to two digits, ``seconds`` are enough for.

        >>> Pace(2.0, 0.01).records(102.0), Pace(2.0, 0.013).records(102.0)
        (10000, 7600)
        """
        count = max(1, int((seconds - self.fixed) / self.each))
        digit = 10 ** max(0, len(str(count)) - 2)
        return count // digit * digit

    def seconds(self, count: int) -> float:
        return self.fixed + self.each * count


def paced(probe: Dataset, trial: Callable[[Dataset, Path], object], seconds: float) -> Pace:
    """The pace of ``trial``, an audit of a dataset into a folder, by samples of ``probe`` that double until
    one takes a tenth of ``seconds``. The first also takes what only the first does, and counts alone only
    where it takes too long for another.
    """
    groups = max(1, len(probe.classes))
    count = min(len(probe), max(_FIRST, 2 * groups))
    found: list[tuple[int, float]] = []
    while True:
        with _scratch() as folder:
            start = time.monotonic()
            trial(sampled(probe, count), folder / "trial")
            found.append((count, time.monotonic() - start))
        enough = (_DEAR if len(found) == 1 else _WORTH) * seconds
        if found[-1][1] >= enough or (count == len(probe) and len(found) > 1):
            break
        count = min(2 * count, len(probe))
    last, took = found[-1]
    if len(found) == 1:
        return Pace(0.0, took / last)
    before, earlier = found[-2]
    if before == last:  # few records: the second time is without what only the first takes
        return Pace(0.0, took / last)
    # Of short trials the difference is mostly noise.
    each = max((took - earlier) / (last - before), (1.0 - _FIXED) * took / last)
    return Pace(max(0.0, took - each * last), each)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that goes, with features of pretrained models in it: kept, they would tell the wrong time."""
    own = os.environ.get("SWAYPOINT_CACHE")
    with tempfile.TemporaryDirectory(prefix="swaypoint-") as folder:
        os.environ["SWAYPOINT_CACHE"] = str(Path(folder) / "cache")
        try:
            yield Path(folder)
        finally:
            del os.environ["SWAYPOINT_CACHE"]
            if own is not None:
                os.environ["SWAYPOINT_CACHE"] = own


@dataclass(frozen=True)
class Earlier:
    """What an audit that is there already has read; ``limit`` None: all."""

    limit: int | None


def earlier(folder: Path) -> Earlier | None:
    """Of the audit in a folder, which is gone on with, however long that takes this time; None where there is
    none."""
    file = folder / "manifest.json"
    if not file.is_file():
        return None
    data: dict[str, Any] = read_json(file, {}, REMEDY).get("data") or {}
    if data.get("of") is None:
        return Earlier(None)
    origin = data.get("origin") or {}
    return Earlier((origin.get("read") or {}).get("limit") or data.get("points"))


def announced(count: int, of: int, pace: Pace) -> str:
    """What is said before the work.

    >>> announced(8000, 50_000, Pace(10.0, 0.0125))
    'a first look at 8,000 of 50,000 records, every class in proportion, about 110 seconds; without --quick all of them, about 11 minutes'
    """  # noqa: E501
    here, all_of_them = said(pace.seconds(count)), said(pace.seconds(of))
    if count >= of:
        return f"all {of:,} records, {here}"
    return (
        f"a first look at {count:,} of {of:,} records, every class in proportion, {here}; without --quick all"
        f" of them, {all_of_them}"
    )
