"""One column of a table to the inputs that it becomes, and what was done to it in one sentence.

All of it is free of the labels. The arithmetic is pyarrow's and numpy's; scikit-learn's ``SimpleImputer``,
``MissingIndicator`` and ``OneHotEncoder`` do the same (a test holds them to it), but are of an extra, and
take a second to import.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.readers.text_values import parsed_text
from swaypoint.errors import shortened

MOST_CATEGORIES = 100
"""Categories that get an input each; of more, the frequent ones alone."""
MISSING = "missing"
_FREQUENT, _OFTEN = 50, 5  # at most so many of a column, each at least so often
_FEW = 20  # so many different values say nothing of a column being an identifier
_ALL = 0.95  # of the values differ: nearly all
_WORDS, _LENGTH = 4, 30  # a text has on average so many words and characters
_IDENTIFIER = re.compile(
    r"(?i:(^|[_ .-])(id|ids|uuid|guid|key|index|idx|rowid|rownames?)$|^(id|uuid)[_ .-])|[a-z](Id|ID)$"
)
_INDEX = re.compile(r"^(|unnamed: ?\d+|index|__index_level_\d+__|rownames?|row)$", re.IGNORECASE)


@dataclass(frozen=True)
class Encoded:
    """What a column becomes.

    Attributes:
        values: (n, d) float32; d = 0: it is left out.
        names: (d,), ``column=category`` for the categories of one column.
        said: what was done, empty for numbers as they are and for one input a category.
        prose: it is left out, being free text.
    """

    values: np.ndarray
    names: tuple[str, ...]
    said: str = ""
    prose: bool = False


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds categories: strings, or a dictionary of them."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column holds numbers, or a dictionary of them; booleans are 0 and 1."""
    if pa.types.is_dictionary(kind):
        return is_number(kind.value_type)
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def is_encodable(kind: pa.DataType) -> bool:
    """Whether :func:`encoded` takes a column of this type."""
    return is_text(kind) or is_number(kind) or pa.types.is_temporal(kind) or pa.types.is_null(kind)


def floats(values: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64, NaN where missing."""
    return values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)


def encoded(column: str, values: pa.ChunkedArray) -> Encoded:
    """What the column ``values`` (n,), n > 0, becomes.

    Its type is one of :func:`is_encodable`, and no dictionary; its numbers are finite in float32, or missing.
    """
    kind = values.type
    if values.null_count == len(values):
        return _left_out(len(values), "it holds no values")
    if is_text(kind):
        return _text(column, values)
    if pa.types.is_temporal(kind):
        return _times(column, values)
    numbers = floats(values)
    if pa.types.is_integer(kind) and (reason := _identifies(column, numbers)):
        return _left_out(len(values), reason)
    return _numbers(column, numbers)


def _left_out(n: int, reason: str) -> Encoded:
    return Encoded(np.empty((n, 0), dtype=np.float32), (), f"left out: {reason}")


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 2 else parts)


def _joined(*said: str) -> str:
    return "; ".join(part for part in said if part)


# Numbers


def _identifies(column: str, numbers: np.ndarray) -> str:
    """Why a column of whole numbers, NaN where missing, tells rows apart and nothing else; empty if it does
    not."""
    known = numbers[~np.isnan(numbers)]
    distinct = np.unique(known)
    dense = len(distinct) == len(numbers) and distinct[-1] - distinct[0] == len(numbers) - 1
    if dense and (_INDEX.match(column) or len(numbers) > _FEW):
        return "an index of the rows"
    if len(distinct) > _FEW and len(distinct) >= _ALL * len(known) and _IDENTIFIER.search(column.strip()):
        return f"an identifier, {len(distinct):,} different numbers in {len(known):,} rows"
    return ""


def _numbers(column: str, numbers: np.ndarray) -> Encoded:
    """As they are; gaps become the median, and are marked in a column of their own."""
    missing = np.isnan(numbers)
    gaps = int(missing.sum())
    if gaps == len(numbers):
        return _left_out(len(numbers), "it holds no values")
    median = float(np.nanmedian(numbers)) if gaps else 0.0
    constant = np.nanmin(numbers) == np.nanmax(numbers)
    if constant and not gaps:
        return _left_out(len(numbers), f"it is {numbers[0]:g} in every row")
    filled = np.where(missing, median, numbers).astype(np.float32)
    if not gaps:
        return Encoded(filled[:, None], (column,))
    mark = missing.astype(np.float32)
    if constant:
        said = f"only whether it is missing: it is {median:g} or missing ({gaps:,} of {len(numbers):,})"
        return Encoded(mark[:, None], (f"{column} is missing",), said)
    said = f"{gaps:,} of {len(numbers):,} were missing: the median, {median:g}, and an input that marks them"
    return Encoded(np.stack([filled, mark], axis=1), (column, f"{column} is missing"), said)


# Dates and times


def _times(column: str, values: pa.ChunkedArray) -> Encoded:
    kind = values.type
    if pa.types.is_duration(kind):
        seconds = pc.divide(floats(values.cast(pa.duration("us"), safe=False).cast(pa.int64())), 1e6)
        numbers = _numbers(column, np.asarray(seconds))
        return Encoded(numbers.values, numbers.names, _joined("a duration, in seconds", numbers.said))
    if pa.types.is_time(kind):
        ticks = values.cast(pa.time64("us"), safe=False).cast(pa.int64())
        return _dated(column, floats(ticks), clock=True)
    if getattr(kind, "tz", None):
        values = pc.local_timestamp(values)
    ticks = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return _dated(column, floats(ticks), clock=False)


def _dated(column: str, ticks: np.ndarray, *, clock: bool) -> Encoded:
    """``ticks`` (n,) float64: microseconds since 1970, or since midnight, NaN where missing; exact, as they
    are below 2**53 for 285 years. Dates as days since the first, what comes round as sine and cosine."""
    missing = np.isnan(ticks)
    filled = np.where(missing, np.sort(ticks[~missing])[(~missing).sum() // 2], ticks)
    if (filled == filled[0]).all() and not missing.any():
        return _left_out(len(ticks), "it is the same time in every row")
    parts: dict[str, np.ndarray] = {}
    moments = filled.astype("datetime64[us]")
    dates = moments.astype("datetime64[D]")
    if not clock:
        parts["days"] = (filled - filled.min()) / 86400e6
    angles = _angles(moments)
    for name, angle in angles.items():
        parts[f"{name} (sine)"], parts[f"{name} (cosine)"] = np.sin(angle), np.cos(angle)
    if missing.any():
        parts["is missing"] = missing
    what = "a time" if clock else f"a date, as days since {dates.min()}"
    round_ = f"{'' if clock else 'with '}{_and(list(angles))} as sine and cosine" if angles else ""
    gaps = (
        f"{int(missing.sum()):,} of {len(ticks):,} were missing: the middle one, and an input that marks them"
    )
    return Encoded(
        np.stack(list(parts.values()), axis=1).astype(np.float32),
        tuple(f"{column}: {name}" for name in parts),
        _joined(", ".join(part for part in (what, round_) if part), gaps if missing.any() else ""),
    )


def _angles(moments: np.ndarray) -> dict[str, np.ndarray]:
    """Those of time of year, day of week and time of day that differ between ``moments`` (n,) datetime64[us],
    as angles."""
    dates, months = moments.astype("datetime64[D]"), moments.astype("datetime64[M]")
    years = moments.astype("datetime64[Y]")
    length = ((years + 1).astype("datetime64[us]") - years.astype("datetime64[us]")).astype(np.float64)
    since = (moments - years.astype("datetime64[us]")).astype(np.float64)
    weekday = (dates.astype(np.int64) + 3) % 7  # 1970 began on a Thursday
    clock = (moments - dates.astype("datetime64[us]")).astype(np.float64) / 86400e6
    differing = {
        "time of year": (since / length, len(np.unique(months.astype(np.int64) % 12)) > 1),
        "day of week": (weekday / 7, len(np.unique(weekday)) > 1 and len(np.unique(dates)) > 2),
        "time of day": (clock, len(np.unique(clock)) > 1),
    }
    return {name: 2 * np.pi * share for name, (share, differs) in differing.items() if differs}


# Text


def _text(column: str, values: pa.ChunkedArray) -> Encoded:
    if (parsed := parsed_text(values)) is not None:
        # Marks may be all that is beside the numbers: what they mean is then known.
        found = encoded(column, parsed.values)
        return Encoded(found.values, found.names, _joined(parsed.said, found.said))
    known = values.drop_null()
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(known).to_pylist()}
    distinct, n = len(counts), len(known)
    if distinct == 1 and n == len(values):
        return _left_out(n, f"it is {shortened(repr(known[0].as_py()), 40)} in every row")
    if 2 * distinct > n > 4 and _is_prose(known):
        reason = f"free text, {distinct:,} different in {n:,} rows"
        return replace(_left_out(len(values), reason), prose=True)
    every = distinct == n or (distinct > MOST_CATEGORIES and distinct >= _ALL * n)
    if distinct > _FEW and every:
        return _left_out(len(values), f"an identifier, {distinct:,} different texts in {n:,} rows")
    alike = look_alikes(list(counts))
    gaps = f"{values.null_count:,} of {len(values):,} were missing: a category of their own"
    said = _joined(gaps if values.null_count else "", alike)
    filled = values.fill_null(MISSING)
    if distinct > MOST_CATEGORIES:
        found = _frequent(column, filled, counts)
        return Encoded(found.values, found.names, _joined(found.said, said))
    return _one_hot(column, filled, sorted(set(counts) | ({MISSING} if values.null_count else set())), said)


def _is_prose(known: pa.ChunkedArray) -> bool:
    some = known.slice(0, 10_000)
    words = pc.mean(pc.add(pc.count_substring_regex(some, r"\s+"), 1)).as_py()
    return bool(words >= _WORDS and pc.mean(pc.utf8_length(some)).as_py() >= _LENGTH)


def _one_hot(column: str, values: pa.ChunkedArray, categories: list[str], said: str) -> Encoded:
    index = pc.index_in(values, value_set=pa.array(categories, type=values.type)).to_numpy()
    inputs = np.zeros((len(values), len(categories)), dtype=np.float32)
    inputs[np.arange(len(values)), index] = 1.0
    return Encoded(inputs, tuple(f"{column}={category}" for category in categories), said)


def _frequent(column: str, values: pa.ChunkedArray, counts: dict[str, int]) -> Encoded:
    """The frequent categories one input each, the others together, and how frequent each is."""
    gaps = len(values) - sum(counts.values())
    counts = counts | ({MISSING: gaps + counts.get(MISSING, 0)} if gaps else {})
    often = sorted(
        (name for name in counts if counts[name] >= _OFTEN), key=lambda name: (-counts[name], name)
    )
    kept = sorted(often[:_FREQUENT])
    rest = "the others"
    while rest in kept:
        rest = f"({rest})"
    known = pa.array(kept, type=values.type)
    one = pc.if_else(pc.is_in(values, value_set=known), values, pa.scalar(rest, type=values.type))
    found = _one_hot(column, one, [*kept, rest], "")
    names = list(counts)
    places = pc.index_in(values, value_set=pa.array(names, type=values.type)).to_numpy()
    frequency = np.log10(np.array([counts[name] for name in names], dtype=np.float64))[places]
    if (frequency == frequency[0]).all() and not kept:
        return _left_out(len(values), f"{len(counts):,} categories, each in as many rows")
    said = (
        f"{len(counts):,} categories: an input for each of the {len(kept)} most frequent, one for the others,"
        " and how often each occurs (the logarithm)"
    )
    inputs = np.column_stack([found.values, frequency.astype(np.float32)])
    return Encoded(inputs, (*found.names, f"{column}: frequency"), said)


def look_alikes(categories: Sequence[str]) -> str:
    """Which of ``categories`` differ in no more than blanks, case, and forms of the same letters; empty where
    none do.

    >>> look_alikes(["yes", "no", " Yes"])
    "' Yes' and 'yes' look alike"
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for category in sorted(categories):
        groups[" ".join(unicodedata.normalize("NFKC", category).casefold().split())].append(category)
    alike = [_and([shortened(repr(one), 40) for one in group]) for group in groups.values() if len(group) > 1]
    more = f" (and {len(alike) - 3} more)" if len(alike) > 3 else ""
    return f"{', '.join(alike[:3])} look alike{more}" if alike else ""
