"""Pictures for pages: decoded within limits and encoded anew, whatever the audit folder holds."""

from __future__ import annotations

import base64
import io
from importlib.util import find_spec
from typing import TYPE_CHECKING

from swaypoint.errors import require

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 4096 * 4096
MOST_BYTES = 32 << 20
# What an audit writes is PNG; the decoders of other formats never see the bytes.
_FORMATS = ("PNG",)
_SIDE, _SMALL = 96, 24_000  # of a picture within a file; bytes kept as they are


def decoded(data: bytes, side: int | None) -> Image.Image | None:
    """RGB, at most ``side`` pixels wide and high; None where it is no picture, or one beyond 16.8 million
    pixels (a decompression bomb).

    Raises:
        MissingExtra: Pillow is not installed.
    """
    image = require("PIL.Image", "images")
    if len(data) > MOST_BYTES:
        return None
    try:
        with image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            # Nothing is decoded yet. Checked here: Image.MAX_IMAGE_PIXELS belongs to the whole process,
            # and only warns up to twice its value.
            if opened.width * opened.height > MOST_PIXELS:
                return None
            picture: Image.Image = opened.convert("RGB")
        if side is not None and max(picture.size) > side:
            picture.thumbnail((side, side))
        return picture
    except Exception:  # Pillow's decoders raise any type at all on broken data
        return None


def encoded(picture: Image.Image) -> bytes:
    """As PNG, quickly."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def thumbnail(png: bytes | None) -> str:
    """In base64, for a page of one file; a large picture is made small where Pillow is there, "" where that
    cannot be."""
    if png and len(png) > _SMALL:
        picture = decoded(png, _SIDE) if find_spec("PIL") else None
        png = None if picture is None else encoded(picture)
    return base64.b64encode(png).decode() if png else ""
