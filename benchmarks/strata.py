"""How narrow the count of wrong points is: one random order, or a stratified sample of the ranking.

    python -m benchmarks.strata [--reviews 200]

Four strata of 5,000 points in the order of a ranking, sampled in proportion to their sizes or to the roots of
these; "flat": all strata are equally wrong, "steep": 70, 20, 7 and 3 % of the wrong points are in the first
to last. Compared are the widths of 95 % confidence sequences for the total after 300 and 1,000 points: of a
sample without strata; of a sequence a stratum, the error shared (a union bound); and of the product of their
likelihoods over the mean of it under a prior, half of whose weight is on equal rates and half on independent
ones, maximised over how a total may be spread over the strata. All at one error, both ends together.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import betaln, gammaln

from swaypoint.review.log.counting import _PRIOR, CONFIDENCE

SIZES = (500, 500, 1500, 2500)
STEEP = (0.7, 0.2, 0.07, 0.03)
Stratum = tuple[int, int, int]  # size, seen, wrong


def _likelihood(stratum: Stratum, counts: np.ndarray) -> np.ndarray:
    size, seen, wrong = stratum
    rest = size - seen
    own = gammaln(rest + 1) - gammaln(counts - wrong + 1) - gammaln(rest - counts + wrong + 1)
    return own - gammaln(size + 1) + gammaln(counts + 1) + gammaln(size - counts + 1)


def _mean(strata: list[Stratum]) -> float:
    """Log of the mean likelihood under the prior."""
    a, b = _PRIOR

    def one(wrong: int, seen: int) -> float:
        return float(betaln(a + wrong, b + seen - wrong) - betaln(a, b))

    equal = one(sum(s[2] for s in strata), sum(s[1] for s in strata))
    return float(np.logaddexp(equal, sum(one(s[2], s[1]) for s in strata)) - np.log(2))


def total(strata: list[Stratum], error: float) -> tuple[int, int]:
    """Totals whose best spread over the strata has more than ``error`` times the mean likelihood: from the
    mode of each, always the least costly step next (each likelihood is log-concave)."""
    slack, ends, steps = -np.log(error) - _mean(strata), [0, 0], ([], [])
    for stratum in strata:
        counts = np.arange(stratum[2], stratum[0] - stratum[1] + stratum[2] + 1)
        values = _likelihood(stratum, counts)
        mode = int(values.argmax())
        slack += values[mode]
        for end, course in ((0, values[mode::-1]), (1, values[mode:])):
            ends[end] += int(counts[mode])
            steps[end].append(-np.diff(course))
    low, high = (int((np.cumsum(np.sort(np.concatenate(each))) < slack).sum()) for each in steps)
    return ends[0] - low, ends[1] + high


def widths(wrong: tuple[int, ...], weights: np.ndarray, drawn: int, reviews: int, seed: int) -> list[float]:
    """Mean widths: without strata, by a union bound, by the product."""
    rng, error, found = np.random.default_rng(seed), 1 - CONFIDENCE, np.zeros(3)
    seen = np.minimum(np.round(weights / weights.sum() * drawn).astype(int), SIZES).tolist()
    for _ in range(reviews):
        hits = [int(rng.hypergeometric(k, n - k, t)) for k, n, t in zip(wrong, SIZES, seen, strict=True)]
        strata = list(zip(SIZES, seen, hits, strict=True))
        all_ = int(rng.hypergeometric(sum(wrong), sum(SIZES) - sum(wrong), drawn))
        spans = [
            [total([(sum(SIZES), drawn, all_)], error)],
            [total([stratum], error / len(strata)) for stratum in strata],
            [total(strata, error)],
        ]
        found += [sum(high - low for low, high in each) for each in spans]
    return (found / reviews).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--reviews", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sizes = np.array(SIZES, dtype=float)
    print(
        "| wrong | where | sampled | points | no strata | one each | product |\n|---|---|---|---|---|---|---|"
    )
    for share in (0.001, 0.01, 0.05):
        for where, parts in (("flat", sizes / sizes.sum()), ("steep", np.array(STEEP))):
            wrong = tuple(np.round(share * sizes.sum() * parts).astype(int).tolist())
            for how, weights in (("as sizes", sizes), ("as roots", np.sqrt(sizes))):
                for drawn in (300, 1000):
                    found = widths(wrong, weights, drawn, options.reviews, options.seed)
                    values = " | ".join(f"{width:.0f}" for width in found)
                    print(f"| {100 * share:g} % | {where} | {how} | {drawn:,} | {values} |", flush=True)


if __name__ == "__main__":
    main()
