"""How often the count of wrong points is missed where somebody looks after every verdict, and how often "stop
here" is said too early.

    python -m benchmarks.counting [--reviews 2000] [--points 5000] [--drawn 500]
"""

from __future__ import annotations

import argparse
import math
from functools import lru_cache

import numpy as np

from swaypoint.review.log.counting import CONFIDENCE, count_interval
from swaypoint.review.log.progress import ACCEPTED

SHARES = (0.001, 0.01, 0.05, 0.2)
_interval = lru_cache(maxsize=None)(count_interval)


def missed(wrong: int, points: int, drawn: int, reviews: int, seed: int) -> tuple[float, float, float]:
    """Share of the reviews in which an interval along the way misses ``wrong``; in which the last one does;
    in which a stop is said while more than is accepted are wrong among the unseen."""
    rng = np.random.default_rng([seed, wrong])
    always = last = stopped = 0
    for _ in range(reviews):
        found = np.cumsum(rng.permutation(points)[:drawn] < wrong).tolist()
        bounds = [_interval(s, t, points) for t, s in enumerate(found, start=1)]
        held = [low <= wrong <= high for low, high in bounds]
        always += not all(held)
        last += not held[-1]
        stopped += any(
            high - s <= ACCEPTED * (points - t) < wrong - s
            for t, (s, (_, high)) in enumerate(zip(found, bounds, strict=True), start=1)
        )
    return always / reviews, last / reviews, stopped / reviews


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--reviews", type=int, default=2000)
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--drawn", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    error = math.sqrt((1 - CONFIDENCE) * CONFIDENCE / options.reviews)
    print(
        f"{options.reviews} reviews a line, {options.drawn} of {options.points} points; ± {1.96 * error:.3f}"
    )
    print("| wrong | missed at some moment | missed at the end | stopped too early |\n|---|---|---|---|")
    for share in SHARES:
        wrong = round(share * options.points)
        found = missed(wrong, options.points, options.drawn, options.reviews, options.seed)
        print(
            f"| {100 * share:g} % | " + " | ".join(f"{100 * rate:.1f} %" for rate in found) + " |", flush=True
        )


if __name__ == "__main__":
    main()
