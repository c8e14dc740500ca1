"""Bytes on their way into a socket: what it takes is written at once, the rest by a task that waits for it."""

import socket
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

import trio

_BUFFERS_MAX: Final = 512  # of one gathering write; IOV_MAX is 1,024


class Outbox:
    """Of one connection. Bound: what waits belongs to calls, which the engine bounds."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unsent: deque[bytes | memoryview] = deque()
        self._wanted = trio.Event()

    def send(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Write what the socket takes at once; run() does the rest.

        Raises:
            OSError: the connection is gone.
        """
        if self._unsent:
            self._unsent.extend(buffers)
            return
        try:
            sent = self._connection.sendmsg(buffers[:_BUFFERS_MAX])
        except BlockingIOError:
            sent = 0
        for buffer in buffers:
            if sent >= len(buffer):
                sent -= len(buffer)
                continue
            self._unsent.append(memoryview(buffer)[sent:])
            sent = 0
        if self._unsent:
            self._wanted.set()

    async def run(self) -> None:
        """Write what did not fit, until cancelled.

        Raises:
            OSError, ClosedResourceError: the connection is gone.
        """
        while True:
            await self._wanted.wait()
            while self._unsent:
                await trio.lowlevel.wait_writable(self._connection)
                try:
                    self._drop(self._connection.sendmsg(list(islice(self._unsent, _BUFFERS_MAX))))
                except BlockingIOError:
                    continue
            self._wanted = trio.Event()

    def _drop(self, sent: int) -> None:
        while sent:
            first = self._unsent[0]
            if sent < len(first):
                self._unsent[0] = memoryview(first)[sent:]
                return
            self._unsent.popleft()
            sent -= len(first)
