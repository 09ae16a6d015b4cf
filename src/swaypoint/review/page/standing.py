"""Which points have a verdict that stands: now, and after any event before."""

from __future__ import annotations

import numpy as np


class Standing:
    """Followed event by event. What stood then is what stands now less what changed since: in a review of a
    million points a view takes no look at all verdicts."""

    def __init__(self, n: int) -> None:
        self._now = np.zeros(n, dtype=bool)
        self._changes: list[tuple[int, int]] = []

    def set(self, position: int, stands: bool, seq: int) -> None:
        """As of the event ``seq``, which is the next."""
        if self._now[position] != stands:
            self._now[position] = stands
            self._changes.append((seq, position))

    def at(self, seq: int) -> np.ndarray:
        """After the event ``seq``, ``(n,)`` bool, a copy."""
        then = self._now.copy()
        for changed, position in reversed(self._changes):
            if changed <= seq:
                break
            then[position] = not then[position]
        return then
