"""A stream socket with as little between it and its owner as trio allows.

trio's streams give way at every call, also when there was nothing to wait for; on a local socket that
costs more than the transfer. Here receiving gives way once, and sending not at all while the socket
takes it: what it does not take waits in a queue, and one task sends it as there is room.
"""

import socket
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

import trio

from dwd.model.units import MIB

SEND_S_MAX: Final = 30.0  # hang up on a peer that does not read what it is sent
_SEND_BUFFER_BYTES: Final = 4 * MIB  # asked for: with less, reader and writer of a stream wait for each other in turn
_BUFFERS_MAX: Final = 512  # of one gathering write; IOV_MAX is 1,024


class Channel:
    """One connection. Its owner bounds what it puts: see `waiting_bytes`."""

    def __init__(self, stream: trio.SocketStream, on_room: Callable[[], None]) -> None:
        """`on_room` is called when what had to wait has been sent."""
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)  # noqa: FBT003 - the name says it
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._on_room = on_room
        self._queue: deque[memoryview] = deque()
        self._full = trio.Event()  # replaced when the queue is empty again
        self.waiting_bytes = 0

    async def receive_into(self, space: memoryview) -> int:
        """Wait for bytes, and say how many came; 0 at the end of the stream. Raises OSError, ClosedResourceError."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv_into(space)
            except BlockingIOError:
                continue

    def put(self, *buffers: bytes) -> None:
        """Queue what the next flush() is to send."""
        for buffer in buffers:
            if buffer:
                self._queue.append(memoryview(buffer))
                self.waiting_bytes += len(buffer)

    def flush(self) -> None:
        """Send what the socket takes now; run() sends the rest. Raises OSError."""
        if not self._full.is_set() and not self._send_now():
            self._full.set()

    async def run(self) -> None:
        """Send what had to wait. Returns when the connection is over."""
        while True:
            await self._full.wait()
            try:
                with trio.fail_after(SEND_S_MAX) as patience:
                    while not self._send_now():
                        await trio.lowlevel.wait_writable(self._socket)
                        patience.deadline = trio.current_time() + SEND_S_MAX
            except (OSError, trio.ClosedResourceError, trio.TooSlowError):
                return
            self._full = trio.Event()
            self._on_room()

    def _send_now(self) -> bool:
        """Send until all is sent (True) or the socket is full (False). Raises OSError."""
        queue = self._queue
        while queue:
            try:
                sent = self._socket.sendmsg(list(islice(queue, _BUFFERS_MAX)))
            except BlockingIOError:
                return False
            self.waiting_bytes -= sent
            while queue and sent >= len(queue[0]):
                sent -= len(queue.popleft())
            if sent:
                queue[0] = queue[0][sent:]
        return True

    def close(self) -> None:
        """Hang up; who waits gets ClosedResourceError."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
