"""What heads of any size cost, on paper: products, memory and time of each way, from n, D and C.

The counts are checked against the clock on the scaled-down instance by ``benchmarks.large_head``: its seconds
give the rate that the table assumes of two cores. Of a GPU nothing was measured: its rate is an assumption.

How many classes lead at a point (``--share`` of them) depends on the model: at that of
``benchmarks.many_classes`` one in twenty.

    python -m benchmarks.large_head_costs 1281167 2048 1000 --rate 60e9 --gpu-rate 30e12
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

DRAWS, STEPS = 160, 5
"""Of ``swaypoint.scoring.sketched``: columns of the sketch, and products of conjugate gradients."""


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, and bytes held at a time."""

    way: str
    operations: float
    held: float


def costs(
    n: float, d: float, c: float, *, share: float, draws: int = DRAWS, steps: int = STEPS
) -> list[Cost]:
    """Each way's leading terms; a product of (a, b) and (b, c) counts 2abc."""
    p = c * d
    moments, factor, substitution = n * p**2 / 2, p**3 / 3, n * p**2
    blocks = n * c * d**2 * 2 + c * d**3 + n * c * d**2 * 2  # sums, inverses, leverages of every point
    product = 4 * n * p * draws  # of H with the sketch's columns: to logits, and back
    products = 1 + steps + 1  # drawing and scoring are a product each, of two sketches
    sketch = blocks + products * product
    common = 2 * n * d**2 + c * d**3 + steps * 8 * c * d**2 * draws  # of all classes: rest, inverses, solves
    leading = share * (4 * n * c * d**2 + products * product) + common + 3 * 2 * n * p
    kronecker = n * (2 * d**2 + 2 * c**2) + n * (2 * d**2 + 2 * c**2 + 3 * p)
    vectors = 6 * 4 * p * draws  # what conjugate gradients hold
    return [
        Cost("exact (tiled Cholesky)", moments + factor + substitution, 2 * p**2),
        Cost("sketch, all classes", sketch, 8 * c * d**2 + vectors),
        Cost("sketch, leading classes", leading, 8 * c * d**2 + vectors),
        Cost("EK-FAC", kronecker, 8 * (d**2 + c**2) + 8 * p),
    ]


def shown(seconds: float) -> str:
    """
    >>> shown(5400), shown(3.2e8)
    ('1.5 hours', '10 years')
    """
    units = ((3.156e7, "years"), (86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
    size, name = next(((size, name) for size, name in units if seconds >= size), (1.0, "s"))
    return f"{seconds / size:.2g} {name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("points", "features", "classes"):
        parser.add_argument(name, type=float)
    parser.add_argument("--rate", type=float, default=60e9, help="operations a second of two cores")
    parser.add_argument("--gpu-rate", type=float, default=30e12, help="of a GPU")
    parser.add_argument("--share", type=float, default=0.05, help="of the classes that lead at a point")
    given = parser.parse_args()
    print("| way | operations | held | two cores | one GPU |")
    print("| --- | --- | --- | --- | --- |")
    for cost in costs(given.points, given.features, given.classes, share=given.share):
        times = (shown(cost.operations / rate) for rate in (given.rate, given.gpu_rate))
        print(f"| {cost.way} | {cost.operations:.1e} | {cost.held / 1e9:,.2g} GB | {' | '.join(times)} |")


if __name__ == "__main__":
    main()
