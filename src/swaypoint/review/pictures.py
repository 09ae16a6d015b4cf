"""Pictures for the page: decoded within limits and encoded anew, whatever the audit folder holds.

The path from the address never reaches the file system: it is looked up among the points' ids.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property, lru_cache

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from swaypoint.review.items import Items

SLOTS = 25
"""Pictures side by side in a sheet; a window of the gallery and an item's relations fill whole ones."""
# What an audit writes is PNG; the decoders of other formats never see the bytes.
_FORMATS = ("PNG",)
_PIXELS = 4096 * 4096
_BYTES = 32 << 20
_THUMB_SIDE, _SLOT_SIDE = 128, 96
# What an id stands for never changes.
_KEPT = {"cache-control": "private, max-age=31536000, immutable"}


def decoded(data: bytes, side: int | None) -> Image.Image | None:
    """RGB, at most ``side`` pixels wide and high; None where it is no picture, or one beyond 16.8 million
    pixels (a decompression bomb)."""
    if len(data) > _BYTES:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            # Nothing is decoded yet. Checked here: Image.MAX_IMAGE_PIXELS belongs to the whole process,
            # and only warns up to twice its value.
            if opened.width * opened.height > _PIXELS:
                return None
            picture = opened.convert("RGB")
        if side is not None and max(picture.size) > side:
            picture.thumbnail((side, side))
        return picture
    except Exception:  # Pillow's decoders raise any type at all on broken data
        return None


@lru_cache(maxsize=1)
def placeholder() -> Image.Image:
    """A grey square with a bar: there is no picture to show."""
    picture = Image.new("RGB", (32, 32), (150, 150, 150))
    picture.paste((200, 80, 60), (6, 14, 26, 18))
    return picture


def encoded(picture: Image.Image) -> bytes:
    """As PNG, quickly."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def sheet(pictures: Sequence[bytes], side: int) -> Image.Image:
    """``pictures`` from the left to the right in slots of ``side`` pixels, one that is bad as such."""
    drawn = Image.new("RGB", (SLOTS * side, side), (128, 128, 128))
    for slot, data in enumerate(pictures):
        picture = decoded(data, side) or placeholder().resize((side, side))
        drawn.paste(picture, (slot * side + (side - picture.width) // 2, (side - picture.height) // 2))
    return drawn


class Pictures:
    """ASGI application: ``/ID`` is the picture of a point.

    Args:
        side: thumbnails of at most so many pixels; None: whole pictures.
    """

    def __init__(self, items: Items, side: int | None = _THUMB_SIDE) -> None:
        self._items, self._side = items, side

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        position = self._items.position(scope["path"].rsplit("/", 1)[-1])
        data = None if position is None else self._items.picture(position)
        if data is None:
            answer = Response("there is no such picture", 404)
        else:
            answer = Response(await run_in_threadpool(self._drawn, data), 200, _KEPT, "image/png")
        await answer(scope, receive, send)

    def _drawn(self, data: bytes) -> bytes:
        return encoded(decoded(data, self._side) or placeholder())


class Sheets:
    """ASGI application: ``/ID,ID,…`` are the pictures of up to 25 points side by side.

    One request where there were 25: a browser takes longer for each than for what it brings.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        positions = [self._items.position(item) for item in scope["path"].rsplit("/", 1)[-1].split(",")]
        known = [position for position in positions if position is not None]
        if len(known) < len(positions) or len(known) > SLOTS or self._items.kind != "images":
            answer = Response("there are no such pictures", 404)
        else:
            answer = Response(await run_in_threadpool(self._drawn, known), 200, _KEPT, "image/png")
        await answer(scope, receive, send)

    def _drawn(self, positions: Sequence[int]) -> bytes:
        return encoded(sheet([self._items.picture(p) or b"" for p in positions], self._side))

    @cached_property
    def _side(self) -> int:
        """An audit's pictures have one size."""
        first = decoded(self._items.picture(0) or b"", _SLOT_SIDE) or placeholder()
        return max(first.size)
