"""Pictures for the page, each as it is asked for.

The path from the address never reaches the file system: it is looked up among the points' ids.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from swaypoint.report.pictures import decoded, encoded
from swaypoint.review.items import Items
from swaypoint.review.page.originals import Originals, shown

SLOTS = 25
"""Pictures side by side in a sheet; a window of the gallery and an item's relations fill whole ones."""
_THUMB_SIDE, _SLOT_SIDE, _WHOLE_SIDE = 128, 96, 2048
# What an id stands for never changes.
_KEPT = {"cache-control": "private, max-age=31536000, immutable"}
# An original that is not there just now may be there again.
_SHORTLY = {"cache-control": "private, max-age=60"}


@lru_cache(maxsize=1)
def placeholder() -> Image.Image:
    """A grey square with a bar: there is no picture to show."""
    picture = Image.new("RGB", (32, 32), (150, 150, 150))
    picture.paste((200, 80, 60), (6, 14, 26, 18))
    return picture


def sheet(pictures: Sequence[bytes], side: int) -> Image.Image:
    """``pictures`` from the left to the right in slots of ``side`` pixels, one that is bad as such."""
    drawn = Image.new("RGB", (SLOTS * side, side), (128, 128, 128))
    for slot, data in enumerate(pictures):
        picture = decoded(data, side) or placeholder().resize((side, side))
        drawn.paste(picture, (slot * side + (side - picture.width) // 2, (side - picture.height) // 2))
    return drawn


def seen_size(items: Items, position: int) -> tuple[int, int] | None:
    """Width and height of what the model saw; None where that is no picture."""
    data = items.picture(position) or b""
    # A PNG starts with them.
    return struct.unpack(">II", data[16:24]) if len(data) > 24 else None


class Thumbnails:
    """ASGI application: ``/ID`` is the picture of a point, at most 128 pixels wide and high."""

    def __init__(self, items: Items) -> None:
        self._items = items

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        position = self._items.position(scope["path"].rsplit("/", 1)[-1])
        data = None if position is None else self._items.picture(position)
        if data is None:
            answer = _missing()
        else:
            answer = Response(await run_in_threadpool(self._drawn, data), 200, _KEPT, "image/png")
        await answer(scope, receive, send)

    def _drawn(self, data: bytes) -> bytes:
        return encoded(decoded(data, _THUMB_SIDE) or placeholder())


class Pictures:
    """ASGI application: ``/ID`` is the picture of a point, as large as there is one: the source's own, else
    what the model saw."""

    def __init__(self, items: Items) -> None:
        self._items, self._originals = items, Originals(items)
        # Of their own: a photograph takes a third of a second, which no verdict should wait for, and 100 MB.
        self._threads = ThreadPoolExecutor(2, "original")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        position = self._items.position(scope["path"].rsplit("/", 1)[-1])
        if position is None or not self._items.pictured:
            answer = _missing()
        else:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, self._answer, position)
        await answer(scope, receive, send)

    def _answer(self, position: int) -> Response:
        seen = decoded(self._items.picture(position) or b"", None)
        original = None if seen is None else self._originals.picture(position, max(seen.size))
        if original is not None:
            content, kind = shown(original, _WHOLE_SIDE)
            return Response(content, 200, _KEPT, kind)
        return Response(encoded(seen or placeholder()), 200, _SHORTLY, "image/png")


def _missing() -> Response:
    return Response("there is no such picture", 404)


class Sheets:
    """ASGI application: ``/ID,ID,…`` are the pictures of up to 25 points side by side.

    One request where there were 25: a browser takes longer for each than for what it brings.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        positions = [self._items.position(item) for item in scope["path"].rsplit("/", 1)[-1].split(",")]
        known = [position for position in positions if position is not None]
        if len(known) < len(positions) or len(known) > SLOTS or not self._items.pictured:
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
