"""The ranked points of an audit, to be looked at: pictures, scores, suggestions, neighbours, influences.

Everything here is arrays on disk, memory-mapped, and numpy: a server needs no torch.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from swaypoint.data.neighbours import Space, smallest
from swaypoint.errors import InputError
from swaypoint.findings import Found, found
from swaypoint.findings.regions import Region, Table, read_regions
from swaypoint.findings.regions.folder import inputs_file
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.documents import REMEDY
from swaypoint.folder.manifest import TRAIN
from swaypoint.folder.tensors import map_tensor, read_tensors
from swaypoint.report.words import Marked, Words, texts_in, unmarked
from swaypoint.review.cuts import Cut, cut

_ROWS, _PICTURES, _CUTS = 10_000, 50, 8
_NORMAL = 1.96


@dataclass(frozen=True)
class Suggestion:
    """A class that the model holds possible."""

    label: str
    probability: float


@dataclass(frozen=True)
class Related:
    """Other points, by position, and a value each (a distance, or an influence)."""

    positions: np.ndarray
    values: np.ndarray


class Items:
    """The ranked points of an audit by position (0..n-1, dataset order).

    Args:
        folder: a finished audit.

    Attributes:
        run: the audit's key.
        classes: names in index order; () for regression.
        ids: id of each point, see :func:`item_id`.
        scores: columns of ``scores.parquet``, each ``(n,)``.
        places: the map's coordinates, ``(n, 2)`` float32.

    Raises:
        InputError: not a finished audit, or one of an older version without what a review needs.
    """

    def __init__(self, folder: AuditFolder) -> None:
        self.folder, self.manifest = folder, folder.manifest()
        self.run: str = self.manifest.key
        self.name = Path(self.manifest.data.name).name
        self.kind: str = self.manifest.data.kind
        self.classes: tuple[str, ...] = self.manifest.data.classes
        table = folder.scores()
        self.scores: dict[str, np.ndarray] = {
            name: column.to_numpy() for name, column in zip(table.column_names, table.columns, strict=True)
        }
        self._mapping, self._table = folder.items()
        self._pictures_read = 0
        if len(self._table) != len(table):
            raise InputError(
                f"{folder.path} has {len(table)} scores and {len(self._table)} items; audit again"
            )
        self.ids: list[str] = self._table["id"].to_pylist()
        if len(set(self.ids)) < len(self.ids):
            raise InputError(f"{folder.path / 'items.arrow'}: two points have the same id; {REMEDY}")
        self.places = np.stack([self._table[axis].to_numpy() for axis in ("x", "y")], 1)
        self._orders: dict[tuple[str, bool], np.ndarray] = {}
        self._cuts: dict[tuple[str, str], Cut] = {}
        self._positions = {item: position for position, item in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, item: str) -> int | None:
        """Of an id; None where there is no such point."""
        return self._positions.get(item)

    def label(self, position: int) -> str:
        """As given."""
        return self._named(self.scores["label"][position])

    def suggested(self, position: int) -> str:
        """By the model fitted without the point."""
        return self._named(self.scores["suggested_label"][position])

    def interval(self, position: int) -> tuple[float, float] | None:
        """The 95 % interval (normal) of what a value given to a regression's point should be, from the model
        fitted without it; None where the audit says nothing of it."""
        error = self.scores.get("suggested_error")
        if error is None or not np.isfinite(error[position]):
            return None
        middle, half = float(self.scores["suggested_label"][position]), _NORMAL * float(error[position])
        low = middle - half
        return (max(low, 0.0) if self.manifest.model.loss == "poisson" else low), middle + half

    def _named(self, value: Any) -> str:
        return self.classes[int(value)] if self.classes else f"{float(value):.6g}"

    def source(self, position: int) -> str:
        """The point's file, or its position in the source as text."""
        return self._table["name"][position].as_py() or str(int(self.scores["index"][position]))

    @property
    def pictured(self) -> bool:
        """Points are pictures, or features that were made of some."""
        return self._table["picture"].null_count < len(self)

    def picture(self, position: int) -> bytes | None:
        """PNG of what the model saw; None where points are no pictures."""
        value: bytes | None = self._table["picture"][position].as_py()
        self._pictures_read += 1
        if self._pictures_read % _PICTURES == 0 and hasattr(mmap, "MADV_DONTNEED"):
            # Else the process would seem to hold the whole file sooner or later. The pages stay in the
            # kernel's cache while there is room.
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return value

    def row(self, position: int) -> dict[str, str]:
        """Column -> readable value; of pictures the file, if any."""
        return self.folder.row(self._table["row"][position].as_py())

    def texts(self, position: int) -> tuple[Marked, ...]:
        """The point's texts, unmarked; () where it is none."""
        return unmarked(self._texts(position))

    def marked(self, position: int) -> tuple[tuple[Marked, ...], tuple[str, ...]]:
        """The point's texts with the words that speak for and against its label, and the two classes that
        these are: the label's and the one it is held against; () without classes, or words."""
        texts, names = self._texts(position), self.classes
        if not texts or self._words is None:
            return unmarked(texts), ()
        if not names:
            return self._words.marked(texts, self._words.direction(None, None)), ()
        label, suggested = (int(self.scores[name][position]) for name in ("label", "suggested_label"))
        rival = self._words.rival("\n\n".join(texts.values()), label, suggested)
        return self._words.marked(texts, self._words.direction(label, rival)), (names[label], names[rival])

    @property
    def has_words(self) -> bool:
        """The model reads words, which can be marked."""
        return self._words is not None

    @cached_property
    def _words(self) -> Words | None:
        return Words.of(self.folder)

    def _texts(self, position: int) -> dict[str, str]:
        return texts_in(self.row(position), self._columns_of_text)[0]

    def others(self, position: int) -> dict[str, str]:
        """:meth:`row`, less the texts."""
        return texts_in(self.row(position), self._columns_of_text)[1]

    @property
    def _columns_of_text(self) -> tuple[str, ...]:
        return self.manifest.data.columns if self.kind == "texts" else ()

    def order(self, column: str, *, descending: bool = False) -> np.ndarray:
        """Positions by a column of the scores, ties in dataset order, ``(n,)`` int64; not to be changed."""
        key = (column, descending)
        if key not in self._orders:
            values = self.scores[column]
            self._orders[key] = np.argsort(-values if descending else values, kind="stable")
        return self._orders[key]

    def suggested_kind(self, position: int) -> str:
        """See :data:`swaypoint.scoring.kinds.KINDS`."""
        return str(self.scores["kind"][position])

    @cached_property
    def kinds(self) -> np.ndarray:
        """:meth:`suggested_kind` of each point, ``(n,)`` of text."""
        return self.scores["kind"].astype(str)

    @cached_property
    def leverage(self) -> np.ndarray:
        """As multiples of the mean of all points trained on, ``(n,)``."""
        values = self.scores["leverage"]
        return values / self.manifest.mean_leverage(values, self.scores["split"])

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the ranked points, the one trained on first."""
        return tuple(self.manifest.data.ranked)

    def split(self, position: int) -> str:
        """``train``: the model was trained on the point; ``held_out``: it was not; or a split of the
        source's own."""
        return str(self.scores["split"][position])

    def matching(self, text: str) -> np.ndarray:
        """Which points have ``text`` in their file's name or their row, ``(n,)`` bool."""
        found = pc.match_substring(pc.coalesce(self._table["name"], ""), text, ignore_case=True)
        rows = pc.match_substring(pc.coalesce(self._table["row"], ""), text, ignore_case=True)
        return pc.or_(found, rows).to_numpy()

    # -- the table ----------------------------------------------------------------------------------

    @cached_property
    def table(self) -> Table | None:
        """The inputs of a tabular audit; None of images, and where the audit kept none."""
        place = inputs_file(self.folder)
        inputs = None if place is None else map_tensor(*place, len(self))
        if inputs is None:
            return None
        return Table(inputs, self.scores["label"], self.manifest.data.columns, self.classes)

    def needed_table(self) -> Table:
        """:attr:`table`, where the address asks for its columns.

        Raises:
            InputError: there is none.
        """
        if self.table is None:
            raise InputError(
                f"{self.name} has no columns to cut along: an audit of pictures, or one without its inputs"
            )
        return self.table

    def cut(self, x: str, y: str) -> Cut:
        """The points along two columns of the table.

        Raises:
            InputError: no table, or no such column.
        """
        if (x, y) not in self._cuts:
            if len(self._cuts) >= _CUTS:
                self._cuts.clear()
            self._cuts[x, y] = cut(self.needed_table(), x, y)
        return self._cuts[x, y]

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """As ``swaypoint regions`` found them; () if it has not been run."""
        return read_regions(self.folder) or ()

    @cached_property
    def found(self) -> Found:
        """What holds of the whole set, see :func:`swaypoint.findings.found`."""
        return found(self.folder)

    # -- the model's view ---------------------------------------------------------------------------

    @cached_property
    def _features(self) -> np.ndarray | None:
        """``(n, D)`` float32, where the audit kept them."""
        return map_tensor(self.folder.path / "features.safetensors", "features", len(self))

    @cached_property
    def _matrix(self) -> np.ndarray:
        """W and b side by side, ``(C, D [+ 1])``."""
        assert self._features is not None
        path, width = self.folder.path / "head.safetensors", self._features.shape[1]
        head = read_tensors(path, {"weight": "cd", "bias": "c?"}, d=width)
        outputs = len(head["weight"]) if head else 0
        expected = {len(self.classes), len(self.classes) - (len(self.classes) == 2)} if self.classes else {1}
        if outputs not in expected:
            what = f"{len(self.classes)} classes" if self.classes else "one value"
            raise InputError(f"{path}: it has no weights for {what}; {REMEDY}")
        weight = head["weight"].astype(np.float64)
        return np.hstack([weight, head["bias"][:, None]]) if "bias" in head else weight

    def _columns(self, rows: slice) -> np.ndarray:
        """Features ``(b, D [+ 1])`` float64 as the head's matrix multiplies them."""
        assert self._features is not None
        features = self._features[rows].astype(np.float64)
        self._check_finite(features)
        ones = np.ones((len(features), self._matrix.shape[1] - features.shape[1]))
        return np.hstack([features, ones])

    def suggestions(self, position: int, k: int = 9) -> list[Suggestion]:
        """The model's most probable classes, the best first; the leave-one-out suggestion leads where it
        differs. Empty without classes, or without kept features."""
        if not self.classes or self._features is None:
            return []
        logits = self._columns(slice(position, position + 1)) @ self._matrix.T
        probabilities = _probabilities(logits[0])
        order = [int(c) for c in np.argsort(-probabilities, kind="stable")]
        first = int(self.scores["suggested_label"][position])
        order = [first, *(c for c in order if c != first)]
        return [Suggestion(self.classes[c], float(probabilities[c])) for c in order[:k]]

    def neighbours(self, position: int, k: int = 12, *, away: np.ndarray | None = None) -> Related:
        """Nearest other points in feature space, see :class:`~swaypoint.data.neighbours.Space`; ``away``: the
        :meth:`distances`, where they are known."""
        if self._space is None:
            return _none()
        rough = (self.distances(position) if away is None else away.copy())[None]
        point, itself = self._space.points[[position]], np.array([position])
        index, distances = self._space.refined(point, rough, min(k, len(self) - 1), itself)
        return Related(index[0], distances[0])

    def examples(
        self, position: int, names: Sequence[str], k: int = 4, *, away: np.ndarray | None = None
    ) -> list[Related]:
        """Of each class in ``names`` the nearest points that carry it and that the model agrees on; empty
        where the audit kept no features. ``away`` as in :meth:`neighbours`."""
        if self._space is None:
            return [_none() for _ in names]
        away, found = self.distances(position) if away is None else away, []
        for name in names:
            of_class = self._agreed[self.classes.index(name)]
            of_class = of_class[of_class != position]
            near = _smallest(away[of_class], k)
            found.append(Related(of_class[near.positions], np.sqrt(np.maximum(near.values, 0.0))))
        return found

    @cached_property
    def _agreed(self) -> list[np.ndarray]:
        """Of each class the points, ``(m,)`` positions, that carry it and that the model agrees on."""
        label = self.scores["label"]
        agreed = np.flatnonzero(label == self.scores["suggested_label"])
        order = agreed[np.argsort(label[agreed], kind="stable")]
        return np.split(order, np.searchsorted(label[order], np.arange(1, len(self.classes))))

    def distances(self, position: int) -> np.ndarray:
        """Squared distance of every point to this one as :meth:`neighbours` measures, to float32's
        accuracy, ``(n,)``; zeros where the audit kept no features."""
        if self._space is None:
            return np.zeros(len(self), dtype=np.float32)
        return self._space.squared(self._space.points[[position]])[0]

    @cached_property
    def _space(self) -> Space | None:
        if self._features is None:
            return None
        space = Space(self._features)
        self._check_finite(space.centre)
        return space

    def _check_finite(self, values: np.ndarray) -> None:
        if not np.isfinite(values).all():
            path = self.folder.path / "features.safetensors"
            raise InputError(f"{path}: its features are not all finite; {REMEDY}")

    @cached_property
    def _factor(self) -> dict[str, np.ndarray]:
        """``inverse`` (G, P, P), ``outputs`` (G, C, m), ``features`` (D, k); empty where not kept."""
        path = self.folder.path / "factor.safetensors"
        outputs, columns = self._matrix.shape
        axes = {"inverse": "gpp", "outputs": "gcm", "features": "dk"}
        factor = read_tensors(path, axes, c=outputs, d=columns)
        if factor and len(factor["inverse"][0]) != factor["outputs"].shape[2] * factor["features"].shape[1]:
            raise InputError(f"{path}: its tensors do not fit together; {REMEDY}")
        return factor

    def influences(self, position: int, k: int = 6) -> tuple[Related, Related]:
        """The point's strongest proponents and opponents: I(z, z') = g(z')^T H^-1 g(z) of every other
        training point z on the loss of this one z' (Picard et al., 2022, Eq. 1).

        Proponents (positive, the largest first): without them the loss at its label would rise, they
        support the label. Opponents (negative): they contradict it. Both empty where the audit kept no
        features or no factor (very large heads), or has neither classes nor residuals.
        """
        known = self.classes or "residual" in self.scores
        if self._features is None or not known or not self._factor:
            return _none(), _none()
        pull = self._pull(position)  # dI/dW: the influence of (r, φ) is r^T pull φ
        weight, bias = np.split(pull.astype(np.float32), [self._features.shape[1]], axis=1)
        values = np.empty(len(self))
        for rows in _chunks(len(self)):
            along = self._features[rows] @ weight.T + bias.sum(1)
            values[rows] = np.einsum("nc,nc->n", self._residuals[rows], along)
        values[position] = 0.0
        values[self._not_learned] = 0.0
        for_it, against = _smallest(-values, k), _smallest(values, k)
        return _kept(Related(for_it.positions, -for_it.values), 1.0), _kept(against, -1.0)

    @cached_property
    def _not_learned(self) -> np.ndarray:
        """Positions ``(m,)`` of what the kept head was not fitted to; with folds it is the first one's."""
        first = self.scores["fold"] == 1 if "fold" in self.scores else False
        return np.flatnonzero((self.scores["split"] != TRAIN) | first)

    def _pull(self, position: int) -> np.ndarray:
        """H^-1 g of the point as a matrix like the head's, ``(C, D [+ 1])`` float64."""
        reduce = self._factor["features"]
        row = self._columns(slice(position, position + 1))[0] @ reduce
        residual = self._residuals[position].astype(np.float64)
        pull = np.zeros(self._matrix.shape)
        for basis, block in zip(self._factor["outputs"], self._factor["inverse"], strict=True):
            gradient = np.outer(residual @ basis, row).ravel()
            pull += basis @ (block @ gradient).reshape(basis.shape[1], -1) @ reduce.T
        return pull

    @cached_property
    def _residuals(self) -> np.ndarray:
        """dl/dz of cross-entropy, or of a regression, ``(n, C)`` float32."""
        if not self.classes:
            # Of squared error and Poisson prediction minus value; Huber's is cut at its delta of one.
            cut_at = 1.0 if self.manifest.model.loss == "huber" else np.inf
            return np.clip(-self.scores["residual"], -cut_at, cut_at).astype(np.float32)[:, None]
        residuals = np.empty((len(self), len(self._matrix)), dtype=np.float32)
        for rows in _chunks(len(self)):
            logits = self._columns(rows) @ self._matrix.T
            labels = self.scores["label"][rows].astype(np.int64)
            probabilities = _probabilities(logits)
            probabilities[np.arange(len(labels)), labels] -= 1.0
            residuals[rows] = probabilities[:, -logits.shape[1] :]  # of one logit only the second class
        return residuals


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis; one logit is the second of two classes."""
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    values = np.exp(logits - logits.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)


def _none() -> Related:
    return Related(np.empty(0, dtype=np.int64), np.empty(0))


def _smallest(values: np.ndarray, k: int) -> Related:
    k = min(k, len(values))
    chosen = smallest(values[None], k)[0] if k else np.empty(0, dtype=np.int64)
    chosen = chosen[np.argsort(values[chosen], kind="stable")]
    return Related(chosen, values[chosen])


def _kept(related: Related, sign: float) -> Related:
    kept = sign * related.values > 0
    return Related(related.positions[kept], related.values[kept])
