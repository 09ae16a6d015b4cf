"""Numbers and dates that are stored as text: decimal commas, marks for what is missing, forms of dates."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.errors import shortened

MARKS = ("", "?", "-", "--", ".", "*", "n/a", "n.a.", "na", "<na>", "#n/a", "nan", "nil", "none", "null")
"""What people write in place of a value that is missing, in small letters."""

_LARGEST = 3.4e38
_SHARE = 0.95  # of the values must be numbers, or dates, for the others to count as missing
_FEW = 20  # so many different values may as well be categories
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA = r"^[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+$"
_POINTS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"
_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$"
_CODE = r"^[+-]?0\d"

_DATE = r"^[\d./: ,-]*([A-Za-z]{3,9}[\d./: ,-]+)?([AaPp][Mm])?$"
_YEAR = r"(^|\D)\d{4}(\D|$)"  # strptime takes "20" for the year 20
_DAYS = {
    "%Y-%m-%d": "",
    "%Y/%m/%d": "",
    "%d.%m.%Y": "",
    "%m/%d/%Y": "month first",
    "%d/%m/%Y": "day first",
    "%m-%d-%Y": "month first",
    "%d-%m-%Y": "day first",
    "%d %b %Y": "",
    "%d-%b-%Y": "",
    "%b %d, %Y": "",
}
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_SAMPLE = 200


@dataclass(frozen=True)
class Parsed:
    """A column of text as what it means.

    Attributes:
        values: (n,) float64 or timestamp[us], null where missing.
        said: how it was read.
    """

    values: pa.ChunkedArray
    said: str


def parsed_text(values: pa.ChunkedArray) -> Parsed | None:
    """Text that holds numbers, or dates; None where it is text.

    A column whose every value is a plain number stays text: the source could have said that they are
    numbers, so these are codes. So do numbers that begin with a zero, such as postcodes.
    """
    text = pc.utf8_trim_whitespace(values.cast(pa.large_string()))
    marked = pc.is_in(pc.utf8_lower(text), value_set=pa.array(MARKS, pa.large_string()))
    text = pc.if_else(marked, pa.scalar(None, pa.large_string()), text)
    known = text.drop_null()
    if not len(known):
        return None
    return _numbers(text, known, marks=len(values) - values.null_count - len(known)) or _dates(text, known)


def _numbers(text: pa.ChunkedArray, known: pa.ChunkedArray, *, marks: int) -> Parsed | None:
    plain, comma, thousands = (_matching(known, pattern) for pattern in (_NUMBER, _COMMA, _THOUSANDS))
    odd = len(known) - pc.sum(pc.or_(pc.or_(plain, comma), thousands)).as_py()
    commas = pc.sum(pc.or_(comma, thousands)).as_py()
    if odd > (1 - _SHARE) * len(known) or not (odd or marks or commas):
        return None
    if pc.any(_matching(known, _CODE)).as_py() or (odd and pc.count_distinct(known).as_py() <= _FEW):
        return None
    said = ["numbers written as text"]
    # "1,234" may be either; what is scaled by a thousand is the same to a model that standardises.
    if commas and pc.all(pc.or_(plain, thousands)).as_py():
        text = pc.replace_substring(text, ",", "")
        said = ["numbers with commas between thousands"]
    elif commas:
        # "1.234" beside "0,5" is a thousand, unless points stand elsewhere too.
        points = pc.or_(
            _matching(text, _POINTS), pc.invert(pc.fill_null(pc.match_substring(text, "."), False))
        )
        grouped = pc.all(pc.or_(points, _matching(text, _COMMA))).as_py()
        whole = pc.replace_substring(text, ".", "")
        kept = text if not grouped else whole
        text = pc.replace_substring(pc.if_else(_matching(text, _COMMA), whole, kept), ",", ".")
        said = ["numbers with decimal commas"]
    good = _matching(text, _NUMBER)
    if odd:
        wrong = known.filter(pc.invert(pc.or_(pc.or_(plain, comma), thousands)))
        said.append(
            f"{odd:,} that are none, such as {shortened(repr(wrong[0].as_py()), 40)}, count as missing"
        )
    if marks:
        said.append(f"{marks:,} marked as missing, by '?' or the like")
    numbers = pc.if_else(good, text, pa.scalar(None, pa.large_string())).cast(pa.float64())
    within = pc.less_equal(pc.abs(numbers), _LARGEST)  # of what no float32 holds nothing is known
    numbers = pc.if_else(within, numbers, pa.scalar(None, pa.float64()))
    return Parsed(numbers, "; ".join(said))


def _dates(text: pa.ChunkedArray, known: pa.ChunkedArray) -> Parsed | None:
    text, known = _without_zone(text), _without_zone(known)
    sample = known.slice(0, _SAMPLE)
    if not pc.all(pc.and_(_matching(sample, _DATE), _matching(sample, _YEAR))).as_py():
        return None
    possible = [
        (day, day + time)
        for day in _DAYS
        for time in _TIMES
        if _strptime(sample, day + time).null_count < (1 - _SHARE) * len(sample) + 1
    ]
    tried = [(day, _strptime(text, form)) for day, form in possible]
    if not tried:
        return None
    day, best = min(tried, key=lambda pair: pair[1].null_count)  # of equal ones the first: month first
    odd = best.null_count - text.null_count
    if odd > (1 - _SHARE) * len(known):
        return None
    said = [part for part in (_DAYS[day], f"{odd:,} that are none count as missing" if odd else "") if part]
    return Parsed(best, "; ".join(["dates written as text", *said]))


def _without_zone(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """A blank between date and time, no fractions of seconds, and no UTC."""
    text = pc.replace_substring_regex(text, r"^(\d{4}-\d\d-\d\d)T", r"\1 ")
    return pc.replace_substring_regex(text, r"(:\d\d)(\.\d+)?( ?(Z|UTC|\+00:00))?$", r"\1")


def _strptime(text: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    return pc.strptime(text, format=form, unit="us", error_is_null=True)


def _matching(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.match_substring_regex(text, pattern), False)
