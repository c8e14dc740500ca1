"""A stream socket with as little between it and its owner as trio allows.

trio's streams give way at every call, also when there was nothing to wait for; on a local socket that
costs more than the transfer. Here receiving gives way once, and sending not at all while the socket takes it.
"""

import socket
from collections import deque
from collections.abc import Iterable
from itertools import islice

import trio

_BUFFERS_MAX = 512  # of one gathering write; IOV_MAX is 1,024


class Channel:
    """One connection; one task receives, one at a time sends."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)  # noqa: FBT003 - the name says it

    async def receive_into(self, space: memoryview) -> int:
        """Wait for bytes, and say how many came; 0 at the end of the stream. Raises OSError, ClosedResourceError."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv_into(space)
            except BlockingIOError:
                continue

    def send_now(self, buffers: Iterable[bytes | memoryview]) -> deque[memoryview]:
        """Send what the socket takes without waiting; what is left is for send_rest(). Raises OSError."""
        left = deque(memoryview(buffer) for buffer in buffers if len(buffer))
        while left:
            try:
                sent = self._socket.sendmsg(list(islice(left, _BUFFERS_MAX)))
            except BlockingIOError:
                break
            while left and sent >= len(left[0]):
                sent -= len(left.popleft())
            if sent:
                left[0] = left[0][sent:]
        return left

    async def send_rest(self, left: deque[memoryview]) -> None:
        """Send all of it, as the other side takes it. Raises OSError, ClosedResourceError."""
        while left:
            await trio.lowlevel.wait_writable(self._socket)
            left = self.send_now(left)

    def close(self) -> None:
        """Hang up; who waits gets ClosedResourceError."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
