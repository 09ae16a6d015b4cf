"""Records as examples on a page: a picture, a text, or some columns; the label and what the model says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from swaypoint.errors import shortened
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.report.pictures import thumbnail
from swaypoint.report.terminal import class_name
from swaypoint.report.words import texts_in

_COLUMNS, _SHORT, _WHOLE = 4, 160, 100_000


@dataclass(frozen=True)
class Example:
    """A record: ``picture`` is a PNG in base64, or "", and ``values`` columns.

    Attributes:
        position: in :meth:`~swaypoint.folder.audit_folder.AuditFolder.scores`.
        suggested: what the model says, "" where that is the label.
        texts: in full, where they were asked for so; else they are among the values.
    """

    position: int
    label: str
    suggested: str
    source: str
    picture: str
    texts: tuple[tuple[str, str], ...]
    values: tuple[tuple[str, str], ...]


def reader(folder: AuditFolder, *, whole: bool = False) -> Callable[[int], Example] | None:
    """What gives the record at a position as an example, a text as a ``whole`` or its beginning; None of
    older audits, which do not hold them.

    Raises:
        InputError: not a finished audit, or a damaged one.
    """
    if not (folder.path / "items.arrow").is_file():
        return None
    scores, (_, items), data = folder.scores(), folder.items(), folder.manifest().data
    read = data.columns if whole and data.kind == "texts" else ()
    labels, guesses = scores["label"].to_numpy(), scores["suggested_label"].to_numpy()
    index = scores["index"].to_numpy()

    def example(position: int) -> Example:
        record = items.slice(position, 1).to_pylist()[0]
        texts, values = texts_in({} if record["picture"] else folder.row(record["row"]), read)
        return Example(
            position,
            class_name(data.classes, labels[position]),
            "" if guesses[position] == labels[position] else class_name(data.classes, guesses[position]),
            record["name"] or f"index {index[position]}",
            thumbnail(record["picture"]),
            tuple((name, value[:_WHOLE]) for name, value in texts.items()),
            tuple((name, shortened(value, _SHORT)) for name, value in list(values.items())[:_COLUMNS]),
        )

    return example
