"""HTTP connections with a time limit for request headers."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedConnection(H11Protocol):
    """uvicorn's connection, with a time limit from its start to the end of a request's headers.

    uvicorn itself limits only the time between a response and the first byte of the next request.
    """

    header_seconds = 10.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the timer of a new connection."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._header_timer: asyncio.TimerHandle | None = None
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        """Stops the timer when the headers are complete."""
        super().data_received(data)
        self._watch_headers()

    def on_response_complete(self) -> None:
        """Starts the timer if a part of the next request has arrived."""
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _watch_headers(self) -> None:
        if self._is_answering() or self.transport.is_closing():
            self._stop_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
