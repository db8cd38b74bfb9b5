"""Connections that ask for nothing are closed: a server has only so many, and whoever holds them all keeps others out.

uvicorn itself closes those that are idle after an answer, and the guard those whose bodies do not come.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """One that is closed unless the whole head of a request comes within `patience` seconds of its beginning."""

    patience = 20.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request is awaited from now on."""
        super().connection_made(transport)
        self._await()

    def data_received(self, data: bytes) -> None:
        """A part of a head gives no more time, a whole one ends the waiting."""
        super().data_received(data)
        if self._is_answering():
            self._await_no_more()
        elif self._late is None:  # of another request: uvicorn waits no longer once the first byte is there
            self._await()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited of it."""
        self._await_no_more()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await(self) -> None:
        self._late = self.loop.call_later(self.patience, self._end)

    def _await_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> None:
        self._late = None
        if not self._is_answering():
            self.transport.close()
