"""How a connection to the daemon comes about: connect, start the daemon if nobody listens, Hello and Welcome.

A daemon of another volume is refused, for as long as the mount lives: what the kernel knows is of the first.
A path that is longer than a socket's address may be goes through /proc/self/fd.
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import attrs
import trio

from dwd.codec.frame import Frame, FrameReader, encode_header
from dwd.model.errors import BadRequest, DwError, Unreachable, VolumeMismatch
from dwd.model.ids import InodeNumber, RequestNumber, SessionId, VolumeId
from dwd.model.units import KIB
from dwd.wire.messages import PROTOCOL_VERSION, Failed, Hello, Welcome, decode_answer, encode_message
from dwfs.answers import failure_of

_SOCKET_BUFFER_BYTES: Final = 4096 * KIB  # asked for; the system gives what net.core.wmem_max allows
_ADDRESS_BYTES_MAX: Final = 107  # sun_path has 108, the last is NUL
_BACKOFF_MIN_S: Final = 0.05
_BACKOFF_MAX_S: Final = 1.0

log = logging.getLogger(__name__)


@attrs.frozen
class ClientOptions:
    """Whom to call, as whom, and how long to wait."""

    path: Path  # of the daemon's socket
    session: SessionId
    label: str  # the mount point, for `dwd status`
    timeout: float  # of a call
    start_daemon: Callable[[], Awaitable[None]]  # when nobody listens


@attrs.frozen
class Greeting:
    """What Hello says that changes from connection to connection."""

    next_request: RequestNumber
    holding: tuple[InodeNumber, ...]


@attrs.frozen
class Connection:
    """A connection that has been welcomed."""

    socket: socket.socket
    reader: FrameReader
    welcome: Welcome
    pushed: tuple[Frame, ...]  # what came right behind it


class Connector:
    """Makes connections, to one volume."""

    def __init__(self, options: ClientOptions, greeting: Callable[[], Greeting]) -> None:
        self._options = options
        self._path = options.path
        self._greeting = greeting
        self._volume: VolumeId | None = None

    async def connect(self) -> Connection:
        """Connect; start the daemon if nobody listens.

        Raises:
            DwError: there is no daemon and none can be started, or it refuses us; VolumeMismatch: it is another's.
        """
        made = self._try_connect()
        if made is None:
            await self._options.start_daemon()
            made = self._try_connect()
        if made is None:
            raise Unreachable(f"nobody listens on {self._path}; look into dwd.log beside it")
        try:
            return await self._shake_hands(made)
        except BaseException:
            made.close()
            raise

    async def reconnect(self, mismatch: Callable[[VolumeMismatch], None]) -> Connection:
        """Try until it works, with growing pauses; `mismatch` hears each time that it is another volume's daemon."""
        pause = _BACKOFF_MIN_S
        while True:
            try:
                return await self.connect()
            except DwError as error:
                log.warning("no connection to %s yet: %s", self._path, error)
                if isinstance(error, VolumeMismatch):
                    mismatch(error)
            await trio.sleep(pause)
            pause = min(2 * pause, _BACKOFF_MAX_S)

    def _try_connect(self) -> socket.socket | None:
        """A connection; None when nobody listens."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            made.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        try:
            _connect_at(made, self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            made.close()
            return None
        except OSError as error:
            made.close()
            raise Unreachable(f"cannot connect to {self._path}: {error.strerror}") from error
        return made

    async def _shake_hands(self, made: socket.socket) -> Connection:
        """Hello and Welcome."""
        greeting = self._greeting()
        hello = Hello(
            PROTOCOL_VERSION,
            self._options.session,
            self._options.label,
            greeting.next_request,
            greeting.holding,
        )
        body = encode_message(hello)
        reader = FrameReader()
        try:
            with trio.fail_after(self._options.timeout):
                await _send_all(made, encode_header(0, len(body), 0) + body)
                first, *pushed = await _first_frames(made, reader)
        except (OSError, trio.TooSlowError) as error:
            raise Unreachable(f"the daemon at {self._path} does not answer Hello") from error
        welcome = self._welcome(first)
        if self._volume is not None and welcome.volume != self._volume:
            raise VolumeMismatch(f"the daemon at {self._path} now serves another volume; unmount, and mount again")
        self._volume = welcome.volume
        return Connection(made, reader, welcome, tuple(pushed))

    def _welcome(self, frame: Frame) -> Welcome:
        answer = decode_answer(frame.body)
        if isinstance(answer, Failed):
            raise failure_of(answer)
        if not isinstance(answer, Welcome):
            raise BadRequest(f"the daemon at {self._path} did not answer Hello with Welcome")
        return answer


async def _first_frames(made: socket.socket, reader: FrameReader) -> list[Frame]:
    """One frame at least."""
    frames: list[Frame] = []
    while not frames:
        await trio.lowlevel.wait_readable(made)
        count = made.recv_into(reader.space())
        if not count:
            raise ConnectionResetError
        frames = reader.received(count)
    return frames


async def _send_all(made: socket.socket, data: bytes) -> None:
    """Hello names every orphan that is held: it may be longer than the socket takes at once."""
    left = memoryview(data)
    while left:
        await trio.lowlevel.wait_writable(made)
        left = left[made.send(left) :]


def _connect_at(made: socket.socket, path: Path) -> None:
    plain = os.fsencode(path)
    if len(plain) <= _ADDRESS_BYTES_MAX:
        made.connect(plain)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
