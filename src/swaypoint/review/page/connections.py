"""Connections that may stay: a client that opens many and says nothing must not keep others out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""From the connection, or the first byte of a further request, to the end of the request's head; a connection
that rests between two requests is uvicorn's to close."""
_MOST, _LEAST = 512, 16


def most_connections() -> int:
    """At once, so that files can still be opened beside them; a system may allow a process 256 of both."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError):  # Windows has no such limit
        return _MOST
    return max(_LEAST, min(_MOST, soft // 2)) if soft > 0 else _MOST


class BoundedConnection(AutoHTTPProtocol):  # type: ignore[valid-type, misc]  # whichever uvicorn finds
    """One of at most :func:`most_connections`, that is closed where its client keeps the server waiting."""

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()
        self._wait()
        if len(self.connections) > most_connections():
            resting = [one for one in self.connections if one.resting and not one.transport.is_closing()]
            min(resting, key=lambda one: one._since).transport.close()  # this one rests, too

    def data_received(self, data: bytes) -> None:
        self._since = self.loop.time()
        super().data_received(data)
        if self.resting:
            self._wait()
        else:
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    @property
    def resting(self) -> bool:
        """No request is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._close_if_resting)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_if_resting(self) -> None:
        self._deadline = None
        if self.resting:
            self.transport.close()
