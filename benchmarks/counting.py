"""How often what a review says of the wrong points is not so, where somebody looks after every verdict.

    python -m benchmarks.counting [--reviews 2000] [--shares 0.001,0.01,0.05,0.2] [--tables | --stop]

Each simulated review works through the first 200 points of a ranking of 5,000 that finds wrong ones, draws
the random sample, and goes on with two random points and one of the queue in turn, until 500 random points
were dealt. What is said is held against the truth after every verdict. The intervals are those of the page:
where none of the martingales behind them has reached its bound, none can miss, so they are computed where one
has.

`--out` keeps the figures of each cell; `--tables` prints those kept as the tables of docs/review.md; `--stop`
that of when a stop is said.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import betaln, gammaln, xlog1py, xlogy

from swaypoint.review.log import counting, erring
from swaypoint.review.log.counting import EDGES, LOWER, RIGHT, UNDECIDED, UNSEEN, UPPER, WHOLE, WRONG
from swaypoint.review.log.erring import Checked, Corrected
from swaypoint.review.log.overlaps import overlapping
from swaypoint.review.log.rates import PRIOR
from swaypoint.review.log.remaining import ACCEPTED, Count, Known

SHARES = (0.001, 0.01, 0.05, 0.2)
OUT = Path("docs/counting.json")
POINTS, QUEUED, DEALT = 5000, 200, 500
CHECKS = 100  # of right labels and of wrong ones each


@dataclass(frozen=True)
class Way:
    """Of reviewers: shares of points that they leave undecided, of right ones that they take for wrong, and
    of wrong ones that they take for right."""

    name: str
    undecided: float = 0.0
    alarms: float = 0.0
    misses: float = 0.0
    together: int = 1
    """So many judge every point, each by themselves; their errors are told by that, else by known points."""


WAYS = (
    Way("right"),
    Way("undecided", undecided=0.02),
    Way("erring", alarms=0.01, misses=0.1),
    *(Way(f"{n} together", alarms=0.01, misses=0.1, together=n) for n in (2, 3)),
)


@dataclass(frozen=True)
class Review:
    """One simulated review of points in the order of their ranking.

    Attributes:
        truth: which are wrong, ``(n,)`` bool; ``said``: state of each once it is judged, ``(n,)``.
        times: when each is judged, from 1, ``(n,)``; those of before the draw 0, the rest infinite.
        order: the random order; ``reach``: how many of it are judged without a gap by each time,
            ``(T + 1,)``.
        checks: alarms and misses on the checks by each time, ``(2, T + 1)``, of as many ``asked``.
        says: what each of several reviewers takes for wrong, ``(n, R)`` bool.
    """

    truth: np.ndarray
    said: np.ndarray
    times: np.ndarray
    order: np.ndarray
    reach: np.ndarray
    checks: np.ndarray
    asked: np.ndarray
    says: np.ndarray

    def known(self, time: int) -> Known:
        states = np.where(self.times <= time, self.said, UNSEEN).astype(np.int8)
        places = np.full(len(states), -1.0)
        drawn = np.flatnonzero(self.times > 0)
        places[drawn] = np.arange(len(drawn)) / len(drawn)
        deciders = np.full(len(states), self.says.shape[1])
        return Known(states, places, self.order[: self.reach[time]], deciders)


def simulated(share: float, way: Way, rng: np.random.Generator) -> Review:
    wrong = round(share * POINTS)
    # Without replacement by weights (Efraimidis & Spirakis): the first tenth holds about half of them.
    keys = np.log(np.geomspace(1, 1e-3, POINTS)) + rng.gumbel(size=POINTS)
    truth = np.zeros(POINTS, dtype=bool)
    truth[np.argsort(-keys)[:wrong]] = True
    err = rng.random((way.together, POINTS)) < np.where(truth, way.misses, way.alarms)
    says = (truth ^ err).T
    said = np.where(says.all(1), WRONG, np.where(says.any(1), UNDECIDED, RIGHT))
    said[rng.random(POINTS) < way.undecided] = UNDECIDED
    times = np.full(POINTS, np.inf)
    times[:QUEUED] = 0
    order = QUEUED + rng.permutation(POINTS - QUEUED)
    time = at = queue = done = 0
    queue = QUEUED
    reach = [0]
    while done < DEALT:
        if time % 3 == 2:
            while times[queue] < np.inf:
                queue += 1
            chosen = queue
        else:
            chosen = order[at]  # all before it are judged
            done += 1
        time += 1
        times[chosen] = time
        while at < len(order) and times[order[at]] < np.inf:
            at += 1
        reach.append(at)
    asked = np.minimum(np.arange(time + 1) * 2 * CHECKS // time, 2 * CHECKS)
    hits = rng.random((2, CHECKS)) < [[way.alarms], [way.misses]]
    sums = np.concatenate([np.zeros((2, 1), dtype=int), hits.cumsum(1)], 1)
    halves = np.stack([(asked + 1) // 2, asked // 2])
    checks = np.stack([sums[0, halves[0]], sums[1, halves[1]]])
    return Review(truth, said, times, order, np.array(reach), checks, halves, says)


def _choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.where((k < 0) | (k > n), -np.inf, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def crossed(found: np.ndarray, seen: np.ndarray, size: int, wrong: int, error: float) -> np.ndarray:
    """Where the martingale at the truth has reached 1 / error, so that an interval may miss it."""
    a, b = counting._PRIOR
    mixture = betaln(a + found, b + seen - found) - betaln(a, b)
    likelihood = _choose(size - seen, wrong - found) - _choose(np.array(size), np.array(wrong))
    return likelihood <= math.log(error) + mixture + 1e-9


def suspicious(review: Review, within: np.ndarray, share: float) -> np.ndarray:
    """Times at which the count of the points ``within`` may miss, by any of its tails, ``(T + 1,)`` bool."""
    drawn = review.times > 0
    places = np.where(drawn, np.cumsum(drawn) - 1, -1) / drawn.sum()
    flags = np.zeros(len(review.order) + 1, dtype=bool)
    for edge in EDGES:
        part = share * (WHOLE if edge == 0 else (1 - WHOLE) / (len(EDGES) - 1))
        tail = within & drawn & (places >= edge)
        came = tail[review.order]
        seen = np.concatenate([[0], np.cumsum(came)])
        for error, states in ((LOWER, (WRONG,)), (UPPER, (WRONG, UNDECIDED))):
            wrong = np.isin(review.said, states)
            found = np.concatenate([[0], np.cumsum(came & wrong[review.order])])
            flags |= crossed(found, seen, int(tail.sum()), int((tail & wrong).sum()), error * part)
    return flags[review.reach]


def rates_suspicious(review: Review, way: Way) -> np.ndarray:
    """Times at which a part of the correction may miss."""
    a, b = PRIOR
    flags = np.zeros(len(review.reach), dtype=bool)

    def over(found: np.ndarray, of: np.ndarray, rate: float, error: float) -> np.ndarray:
        mixture = betaln(a + found, b + of - found) - betaln(a, b)
        return xlogy(found, rate) + xlog1py(of - found, -rate) <= math.log(error) + mixture + 1e-9

    # The lower end has the smaller error, so where the upper one's is not reached neither is.
    if way.together == 1:
        for found, of, rate in zip(review.checks, review.asked, (way.alarms, way.misses), strict=True):
            flags |= over(found, of, rate, UPPER * erring._RATE)
    else:
        for column in range(way.together):
            own, others = review.says[:, column], np.delete(review.says, column, 1).mean(1)
            for most, rate in ((others < 0.5, way.alarms), (others > 0.5, way.misses)):
                apart = most & (own if rate == way.alarms else ~own)
                found, of = _by_time(review, apart), _by_time(review, most)
                each = UPPER * erring._RATE / way.together
                flags |= over(found, of, rate, each) & (found < rate * of)
    judged = _by_time(review, np.ones(POINTS, dtype=bool))
    alarms = _by_time(review, ~review.truth & (review.said == WRONG))
    flags |= over(alarms, judged, way.alarms, UPPER * erring._FALSE) & (alarms > way.alarms * judged)
    least = -math.log(UPPER * erring._CHANCE)
    parts = [(review.truth, RIGHT, way.misses), (~review.truth, WRONG, way.alarms)]
    for kind, state, rate in parts:
        err, size = int((kind & (review.said == state)).sum()), int(kind.sum())
        both = rate**way.together
        # Overlaps give no lower ends of the rates, so errors of several are never too few.
        if (way.together == 1 or err > both * size) and erring._surprise(err, both, size) > least:
            flags[:] = True
    return flags


def _by_time(review: Review, which: np.ndarray) -> np.ndarray:
    """How many of these are judged by each time, ``(T + 1,)``."""
    return np.searchsorted(np.sort(review.times[which]), np.arange(len(review.reach)), side="right")


@dataclass
class Cell:
    """Reviews, and shares of them in which something that was said was not so at some moment; and means of
    what was said at the end."""

    way: str
    wrong: float
    reviews: int
    count: float = 0.0
    remaining: float = 0.0
    stopped: float = 0.0
    of_class: float = 0.0
    corrected: float = 0.0
    still: float = 0.0
    low: float = 0.0
    high: float = 0.0
    corrected_low: float = 0.0
    corrected_high: float = 0.0
    unsaid: float = 0.0

    def add(self, name: str, value: float) -> None:
        setattr(self, name, getattr(self, name) + value / self.reviews)


def cell(share: float, way: Way, reviews: int, seed: int) -> Cell:
    found = Cell(way.name, share, reviews)
    rng = np.random.default_rng([seed, round(share * POINTS), [one.name for one in WAYS].index(way.name)])
    every = np.ones(POINTS, dtype=bool)
    for _ in range(reviews):
        review = simulated(share, way, rng)
        last = len(review.reach) - 1
        one = review.known(last).count(every)
        found.add("low", one.low)
        found.add("high", one.high)
        if way.alarms or way.misses:
            _add_corrected(found, review, way)
            continue
        missed = set()
        for time in np.flatnonzero(suspicious(review, every, 1.0)).tolist():
            missed |= _missed(review, review.known(time).count(every), time)
        for name in missed:
            found.add(name, 1)
        within = rng.random(POINTS) < 0.2  # a class, whatever it is
        for time in np.flatnonzero(suspicious(review, within, 1.0)).tolist():
            one = review.known(time).count(within)
            if not one.low <= (review.truth & within).sum() <= one.high:
                found.add("of_class", 1)
                break
    return found


def _missed(review: Review, count: Count, time: int) -> set[str]:
    left = int((review.truth & (review.times > time)).sum())
    missed = set() if count.low <= review.truth.sum() <= count.high else {"count"}
    missed |= set() if count.left_low <= left <= count.left_high else {"remaining"}
    return missed | ({"stopped"} if count.enough and left > ACCEPTED * count.unseen else set())


def _add_corrected(found: Cell, review: Review, way: Way) -> None:
    every, last = np.ones(POINTS, dtype=bool), len(review.reach) - 1
    flags = suspicious(review, every, erring.VERDICTS_SHARE) | rates_suspicious(review, way)
    missed = set()
    for time in sorted({*np.flatnonzero(flags).tolist(), last}):
        known = review.known(time)
        if way.together == 1:
            counts = np.stack([review.asked[:, time], review.checks[:, time]], 1).ravel().tolist()
            said = known.corrected([Checked("r", *counts)])
        else:
            rows = np.unique(review.says[review.times <= time], axis=0, return_counts=True)
            names = tuple(map(str, range(way.together)))
            said = known.corrected([], overlapping(names, rows[0].astype(np.int8), rows[1]))
        if said is None:  # so nothing is known
            said = Corrected(0, POINTS, 0, POINTS, (0.0, 1.0), (0.0, 1.0))
            found.add("unsaid", float(time == last))
        still = int((review.truth & (known.states != WRONG)).sum())
        missed |= set() if said.low <= review.truth.sum() <= said.high else {"corrected"}
        missed |= set() if said.still_low <= still <= said.still_high else {"still"}
        if time == last:
            found.add("corrected_low", said.low)
            found.add("corrected_high", said.high)
    for name in missed:
        found.add(name, 1)


def tables(cells: list[dict]) -> str:
    """Markdown, of what :func:`main` kept."""
    reviews = cells[0]["reviews"]
    error = 1.96 * math.sqrt(0.05 * 0.95 / reviews)
    lines = [f"({reviews:,} reviews a line; 5 % ± {100 * error:.1f} is what the confidence allows)", ""]
    said = ("count missed", "remaining missed", "stopped too early", "a class missed")
    lines += _header("reviewers", "wrong", *said, "count at the end")
    by_verdicts = [one for one in cells if one["way"] in ("right", "undecided")]
    for one in by_verdicts:
        rates = [_percent(one[name]) for name in ("count", "remaining", "stopped", "of_class")]
        end = f"{one['low']:.0f} to {one['high']:.0f} (true: {_true(one)})"
        lines.append(_row(one["way"], f"{100 * one['wrong']:g} %", *rates, end))
    said = ("corrected missed", "not found, missed", "nothing said", "by verdicts", "corrected", "true")
    lines += ["", *_header("reviewers", "wrong", *said)]
    for one in (one for one in cells if one not in by_verdicts):
        rates = [_percent(one.get(name, 0.0)) for name in ("corrected", "still", "unsaid")]
        ends = [f"{one[name + 'low']:.0f} to {one[name + 'high']:.0f}" for name in ("", "corrected_")]
        lines.append(_row(one["way"], f"{100 * one['wrong']:g} %", *rates, *ends, _true(one)))
    return "\n".join(lines)


def stops(wrong: int, size: int = POINTS) -> tuple[list[float], float]:
    """Probability that a stop is said within 500, 1,000, … 2,500 random points without a queue, by the count
    of everything; and that it is said while more than is accepted are wrong. Exact, over all orders."""
    going, said, early, within = {0: 1.0}, 0.0, 0.0, []
    for seen in range(1, size // 2 + 1):
        after: dict[int, float] = {}
        for found, chance in going.items():
            share = (wrong - found) / (size - seen + 1)
            for count, part in ((found + 1, chance * share), (found, chance * (1 - share))):
                if part > 1e-12:
                    after[count] = after.get(count, 0.0) + part
        going = {}
        for found, chance in after.items():
            left = counting.count_interval(found, seen, size, share=WHOLE)[1] - found
            if left > ACCEPTED * (size - seen):
                going[found] = chance
                continue
            said += chance
            early += chance if wrong - found > ACCEPTED * (size - seen) else 0.0
        if seen % 500 == 0:
            within.append(said)
    return within, early


def stop_table() -> str:
    lines = _header("wrong", *(f"within {t:,}" for t in range(500, POINTS // 2 + 1, 500)), "too early")
    for share in (0, 0.001, 0.002, 0.005, 0.01, 0.011, 0.015, 0.05, 0.2):
        within, early = stops(round(share * POINTS))
        lines.append(_row(f"{100 * share:g} %", *map(_percent, within), _percent(early)))
    return "\n".join(lines)


def _true(one: dict) -> str:
    return f"{one['wrong'] * POINTS:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def _header(*names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--reviews", type=int, default=2000)
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    parser.add_argument("--ways", default=",".join(way.name for way in WAYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--stop", action="store_true")
    options = parser.parse_args()
    if options.stop:
        print(stop_table())
        return
    kept = json.loads(options.out.read_text()) if options.out.exists() else []
    if not options.tables:
        for name in options.ways.split(","):
            for share in map(float, options.shares.split(",")):
                way = next(way for way in WAYS if way.name == name)
                found = asdict(cell(share, way, options.reviews, options.seed))
                print(json.dumps(found), flush=True)
                kept = [one for one in kept if (one["way"], one["wrong"]) != (name, share)] + [found]
                kept.sort(key=lambda one: ([way.name for way in WAYS].index(one["way"]), one["wrong"]))
                options.out.write_text(json.dumps(kept, indent=1) + "\n")
    print(tables(kept))


if __name__ == "__main__":
    main()
