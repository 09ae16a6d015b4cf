"""The pictures of the audited source as they are stored there, where the audit kept only what the model saw.

A picture is shown only if, read and resized as the audit did, it is the very point: its id is a digest of
that. So neither a changed file, nor a path or a link that leads elsewhere, ever shows something else.
"""

from __future__ import annotations

import io

import pyarrow as pa
from PIL import Image

from swaypoint.data.readers import Wanted, reader_of
from swaypoint.data.readers.images import whole_image
from swaypoint.errors import InputError
from swaypoint.folder.items import item_id
from swaypoint.report.pictures import MOST_BYTES, MOST_PIXELS
from swaypoint.review.cleaning.source import origin
from swaypoint.review.items import Items

_LOSSLESS = 256 * 256  # pixels; beyond, a PNG takes a second and megabytes


class Originals:
    """The source's pictures by position among the items.

    Nothing of a client's request but the position gets here.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    def picture(self, position: int, side: int) -> Image.Image | None:
        """In RGB, upright; None where it is no larger than what the model saw, ``side`` pixels wide and
        high, where the source is elsewhere or has changed, or where it is beyond 16.8 million pixels (a
        decompression bomb) or 32 MB."""
        name, index = self._items.source(position), int(self._items.scores["index"][position])
        try:
            encoded = self._encoded(Wanted(name, index, MOST_BYTES))
            if encoded is None:
                return None
            whole, seen = whole_image(encoded, side, most_pixels=MOST_PIXELS)
        except (InputError, OSError, ValueError, pa.ArrowException):
            return None
        if item_id(seen.tobytes(), name) != self._items.ids[position] or max(whole.size) <= side:
            return None
        return whole

    def _encoded(self, wanted: Wanted) -> bytes | None:
        read = origin(self._items)
        if read is None or self._items.kind != "images":
            return None
        source, options = read
        reader = reader_of(source)
        return None if reader is None or reader.picture is None else reader.picture(source, options, wanted)


def shown(picture: Image.Image, side: int) -> tuple[bytes, str]:
    """Encoded anew, at most ``side`` pixels wide and high, and its media type."""
    if max(picture.size) > side:
        picture.thumbnail((side, side))
    buffer = io.BytesIO()
    if picture.width * picture.height <= _LOSSLESS:
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), "image/png"
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue(), "image/jpeg"
