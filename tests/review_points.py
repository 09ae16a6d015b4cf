"""What the statistics of a review need of an audit's items, and reviews made of what was said."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from swaypoint.review.log.verdicts import Decision, Event, Review

BAD, FINE, SKIP, CAT = Decision("bad"), Decision("correct"), Decision("skip"), Decision("mislabeled", "cat")
SEED = "5eed"


@dataclass(eq=False)
class Points:
    """Point i has rank i + 1, the label i mod 3 and, of two splits, the first for two of three."""

    n: int
    classes: tuple[str, ...] = ("ant", "bee", "cat")
    splits: tuple[str, ...] = ("train",)
    name: str = "points"
    run: str = "run"

    def __len__(self):
        return self.n

    @cached_property
    def ids(self):
        return [f"i{i}" for i in range(self.n)]

    @cached_property
    def places(self):
        return {item: i for i, item in enumerate(self.ids)}

    @cached_property
    def scores(self):
        each = np.arange(self.n)
        split = np.where(each % 3 < 2, self.splits[0], self.splits[-1])
        return {"rank": each + 1, "label": each % 3, "split": split}

    def position(self, item):
        return self.places.get(item)


def reviewed(*said):
    """(actor, item, decision[, way]) each, in order; an event instead is taken as it is."""
    events = []
    for i, one in enumerate(said, start=1):
        if isinstance(one, Event):
            events.append(Event(**{**vars(one), "seq": i, "digest": one.digest or SEED}))
            continue
        actor, item, decision, *way = one
        events.append(Event(f"{i}", "run", item, actor, decision, f"{i}", way=way[0] if way else "", seq=i))
    return Review("run", events)
