"""The page's own style and scripts, from memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Assets:
    """ASGI application: ``/DIGEST/NAME`` is a file that lay in one of ``folders`` at the start.

    Nothing from the address is looked up on the disk.

    Attributes:
        digest: of all the files: a part of their address, so that a browser may keep them for good.
    """

    def __init__(self, *folders: Path) -> None:
        files = sorted(file for folder in folders for file in folder.iterdir() if file.suffix in _TYPES)
        self._files = {file.name: (file.read_bytes(), _TYPES[file.suffix]) for file in files}
        content = b"\0".join(content for content, _ in self._files.values())
        self.digest = hashlib.sha256(content).hexdigest()[:12]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        digest, _, name = scope["path"].rpartition("/static/")[2].partition("/")
        if digest != self.digest or name not in self._files:
            answer = Response("there is no such file", 404)
        else:
            content, kind = self._files[name]
            answer = Response(content, media_type=kind)
        await answer(scope, receive, send)
