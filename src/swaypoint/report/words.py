"""The words of a text that speak for and against its label: what each adds to the model's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.tensors import read_tensors
from swaypoint.models.text_features import Span, TextFeatures

_LEAST, _STEPS = 0.15, 3
"""Of the strongest word of a text, all its occurrences together, as in a long text each adds next to nothing:
below, a word is not marked; and how many strengths are told apart."""


@dataclass(frozen=True)
class Part:
    """A piece of a text.

    Attributes:
        sign: +1 where it speaks for the label (raises a value), -1 against it, 0 where it says little.
        strength: 1 to 3.
        value: what it adds to the difference of the logits, here alone.
    """

    text: str
    sign: int = 0
    strength: int = 0
    value: float = 0.0


@dataclass(frozen=True)
class Marked:
    """A column of texts of one record, ``name``, in pieces; they make up the whole."""

    name: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


class Words:
    """What the words of an audit's texts say by its head.

    Attributes:
        features: of the texts.
        weight: (C, D) float64 of the head, or (1, D) of two classes or real values.
        bias: (C,) float64.
    """

    def __init__(self, features: TextFeatures, weight: np.ndarray, bias: np.ndarray) -> None:
        self.features, self.weight, self.bias = features, weight, bias

    @classmethod
    def of(cls, folder: AuditFolder) -> Words | None:
        """Of an audit's folder; None where its model reads no words.

        Raises:
            InputError: what it holds of them is damaged.
        """
        features = TextFeatures.load(folder.path)
        if features is None:
            return None
        head = read_tensors(
            folder.path / "head.safetensors", {"weight": "cd", "bias": "c?"}, d=features.embedding.shape[1]
        )
        if not head:
            return None
        weight = head["weight"].astype(np.float64)
        return cls(features, weight, head.get("bias", np.zeros(len(weight))).astype(np.float64))

    def direction(self, label: int | None, other: int | None) -> np.ndarray:
        """(D,): what raises the logit of the class ``label`` over that of ``other``; without classes, the
        prediction."""
        if label is None or other is None:
            return self.weight[0]
        if len(self.weight) == 1:  # the logit of the second of two classes
            return self.weight[0] * (label - other)
        return self.weight[label] - self.weight[other]

    def logits(self, text: str) -> np.ndarray:
        """Of a text, (C,)."""
        return self.weight @ self.features([text])[0].astype(np.float64) + self.bias

    def rival(self, text: str, label: int, suggested: int) -> int:
        """The class to hold a label against: the one that the model suggests, else the likeliest other."""
        if suggested != label or len(self.weight) == 1:
            return suggested if suggested != label else 1 - label
        logits = self.logits(text)
        logits[label] = -np.inf
        return int(logits.argmax())

    def marked(self, texts: dict[str, str], direction: np.ndarray) -> tuple[Marked, ...]:
        """The texts of one record by column, in pieces."""
        joined = "\n\n".join(texts.values())
        spans = self.features.contributions(joined, direction)
        total: dict[str, float] = {}
        for span in spans:
            word = joined[span.start : span.stop].lower()
            total[word] = total.get(word, 0.0) + span.value
        strongest = max(map(abs, total.values()), default=0.0)
        shares = [total[joined[s.start : s.stop].lower()] / (strongest or 1.0) for s in spans]
        kept = [(span, share) for span, share in zip(spans, shares, strict=True) if abs(share) >= _LEAST]
        found, start = [], 0
        for name, text in texts.items():
            stop = start + len(text)
            own = [
                (Span(s.start - start, s.stop - start, s.value), share)
                for s, share in kept
                if start <= s.start < stop
            ]
            found.append(Marked(name, _pieces(text, own)))
            start = stop + 2
        return tuple(found)


def _pieces(text: str, spans: list[tuple[Span, float]]) -> tuple[Part, ...]:
    """Of a text; ``spans`` with what their words add, of the strongest."""
    parts, done = [], 0
    for span, share in spans:
        if span.start > done:
            parts.append(Part(text[done : span.start]))
        strength = min(_STEPS, 1 + int(_STEPS * abs(share)))
        sign = 1 if share > 0 else -1
        parts.append(Part(text[span.start : span.stop], sign, strength, span.value))
        done = span.stop
    if done < len(text):
        parts.append(Part(text[done:]))
    return tuple(parts)


def unmarked(texts: dict[str, str]) -> tuple[Marked, ...]:
    """The texts of one record as they are."""
    return tuple(Marked(name, (Part(text),)) for name, text in texts.items())


def any_marked(texts: Sequence[Marked]) -> bool:
    """Whether a word in them is marked, so that a legend says something."""
    return any(part.sign for one in texts for part in one.parts)


def texts_in(row: dict[str, str], columns: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Of a record's values the texts of ``columns``, and the others."""
    return {name: row[name] for name in columns if name in row}, {
        name: value for name, value in row.items() if name not in columns
    }
