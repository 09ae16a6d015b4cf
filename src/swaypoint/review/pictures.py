"""Pictures for the page: decoded within limits and encoded anew, whatever the audit folder holds."""

from __future__ import annotations

import io
from collections import OrderedDict
from functools import lru_cache

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from swaypoint.review.items import Items

# What an audit writes is PNG; the decoders of other formats never see the bytes.
_FORMATS = ("PNG",)
_PIXELS = 4096 * 4096
_BYTES = 32 << 20
_THUMB_SIDE = 128
_KEPT_BYTES = 48 << 20
_IN_LOOP_BYTES = 16_384


def encoded_anew(data: bytes, side: int | None) -> bytes | None:
    """PNG of ``data``, at most ``side`` pixels wide and high; None where it is no picture or one beyond
    16.8 million pixels (a decompression bomb)."""
    if len(data) > _BYTES:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            # Nothing is decoded yet. Checked here: Image.MAX_IMAGE_PIXELS belongs to the whole process,
            # and only warns up to twice its value.
            if opened.width * opened.height > _PIXELS:
                return None
            picture = opened.convert("RGB")
        if side is not None:
            picture.thumbnail((side, side))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    except Exception:  # Pillow's decoders raise any type at all on broken data
        return None


@lru_cache(maxsize=1)
def placeholder() -> bytes:
    """A grey square with a bar: there is no picture to show."""
    picture = Image.new("RGB", (32, 32), (150, 150, 150))
    picture.paste((200, 80, 60), (6, 14, 26, 18))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


class Pictures:
    """ASGI application: ``/ID`` is the picture of a point, by its id only.

    The path from the address never reaches the file system: it is looked up among the ids.

    Args:
        side: thumbnails of at most so many pixels; None: whole pictures.
    """

    def __init__(self, items: Items, side: int | None = _THUMB_SIDE) -> None:
        self._items, self._side = items, side
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        item = scope["path"].rsplit("/", 1)[-1]
        position = self._items.position(item)
        data = None if position is None else self._items.picture(position)
        if data is None:
            await Response("there is no such picture", 404)(scope, receive, send)
            return
        picture = self._kept.get(item)
        if picture is None:
            if len(data) < _IN_LOOP_BYTES:  # a thread costs more than such a one
                found = encoded_anew(data, self._side)
            else:
                found = await run_in_threadpool(encoded_anew, data, self._side)
            picture = self._keep(item, placeholder() if found is None else found)
        # What an id stands for never changes.
        lasting = {"cache-control": "private, max-age=31536000, immutable"}
        await Response(picture, 200, lasting, "image/png")(scope, receive, send)

    def _keep(self, item: str, picture: bytes) -> bytes:
        if item not in self._kept:
            self._kept[item] = picture
            self._bytes += len(picture)
        while self._bytes > _KEPT_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1])
        return picture
