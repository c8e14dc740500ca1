"""The mounts' socket: frames in, services called, frames out. Nothing is decided here.

All requests that one read of the socket brought are one proposal and, as far as they can be answered
at once, one write: there is no task and no channel for an operation that need not wait (D4).
"""

import errno
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from dwd.codec.frame import Frame, FrameReader, encode_header
from dwd.gateways.channel import Channel
from dwd.model.errors import BadRequest, DwError, NamespaceRefusal, NoSpace
from dwd.model.limits import CONNECTIONS_MAX, DIRECTORY_PAGE_ENTRIES_MAX
from dwd.model.units import MIB
from dwd.namespace import queries
from dwd.namespace.commands import Link, MakeNode, SetXattr
from dwd.namespace.outcomes import Outcome, Refused
from dwd.services.metadata import Metadata
from dwd.services.mounts import Mount, Mounts
from dwd.services.orphans import Orphanage
from dwd.services.reading import FileReader
from dwd.services.segments import PAYLOAD_SLACK
from dwd.services.space import SpaceKeeper
from dwd.services.storing import FileWriter
from dwd.wire import messages as wire
from dwd.wire.checks import check_request

_HELLO_S_MAX: Final = 10.0  # a connection that says nothing must not keep a place of CONNECTIONS_MAX
# What one connection may have in hand; at each of these, reading stops until there is less.
_SLOW_MAX: Final = 32  # requests that wait for disks
_HELD_BYTES_MAX: Final = 32 * MIB  # that they bring or will bring: more than the four segments of one mount
_OUTBOX_BYTES_MAX: Final = 4 * MIB  # replies that are not sent yet
_JOIN_BYTES_MAX: Final = 64 * 1024  # payloads up to this are copied into one send
_GROWING: Final = (MakeNode, Link, SetXattr)  # refused when metadata has no room; removing never is


@attrs.frozen
class MountServices:
    """What a connection calls."""

    metadata: Metadata
    mounts: Mounts
    orphans: Orphanage
    reader: FileReader
    writer: FileWriter
    space: SpaceKeeper
    pid_of: Callable[[trio.SocketStream], int]


async def serve_mounts(listener: trio.SocketListener, services: MountServices) -> None:
    """Serve every mount that connects, until cancelled."""
    open_now = 0

    async def serve_one(stream: trio.SocketStream) -> None:
        nonlocal open_now
        try:
            await MountConnection(stream, services).run()
        finally:
            open_now -= 1

    async with trio.open_nursery() as nursery:
        while True:
            stream = await listener.accept()
            if open_now >= CONNECTIONS_MAX:
                await stream.aclose()
                continue
            open_now += 1
            nursery.start_soon(serve_one, stream)


class MountConnection:
    """One connection of one mount."""

    def __init__(self, stream: trio.SocketStream, services: MountServices) -> None:
        self._pid = services.pid_of(stream)
        self._channel = Channel(stream, self._ease)
        self._services = services
        self._mount: Mount | None = None
        self._greeted = False
        self._in_turn = False  # the reading task is handling frames, and will send what they bring
        self._slow = 0
        self._held_bytes = 0
        self._eased = trio.Event()  # replaced each time that less is in hand
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Serve until either side ends the connection; only bugs get out."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._send)
                nursery.start_soon(self._end_if_silent)
                await self._read_frames()
                nursery.cancel_scope.cancel()
        finally:
            if self._mount is not None:
                self._services.mounts.disconnected(self._mount, self)
            self._channel.close()

    def push(self, message: wire.Push) -> None:
        """Send something unasked."""
        self._answer(0, message)

    def disconnect(self) -> None:
        """End the connection."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _send(self) -> None:
        await self._channel.run()
        self.disconnect()

    async def _end_if_silent(self) -> None:
        await trio.sleep(_HELLO_S_MAX)
        if not self._greeted:
            self.disconnect()

    async def _read_frames(self) -> None:
        reader = FrameReader(slack=PAYLOAD_SLACK)
        while True:
            try:
                count = await self._channel.receive_into(reader.space())
                frames = reader.received(count) if count else []
            except (OSError, trio.ClosedResourceError, BadRequest):
                return
            if not count or not await self._take_all(frames):
                return

    async def _take_all(self, frames: list[Frame]) -> bool:
        """Handle what one read brought, in one turn unless it is too much; False ends the connection."""
        sound = True
        self._in_turn = True
        for frame in frames:
            if self._is_full:
                await self._end_turn()
                self._in_turn = True
            sound = self._take(frame)
            if not sound:
                break
        await self._end_turn()
        return sound

    async def _end_turn(self) -> None:
        """Log, answer, and wait until more may be taken in hand."""
        metadata = self._services.metadata
        metadata.pump()
        self._in_turn = False
        self._flush()
        while self._is_full:
            await self._eased.wait()
        if metadata.is_behind:
            await metadata.catch_up()

    @property
    def _is_full(self) -> bool:
        return (
            self._slow >= _SLOW_MAX
            or self._held_bytes >= _HELD_BYTES_MAX
            or self._channel.waiting_bytes >= _OUTBOX_BYTES_MAX
        )

    def _ease(self) -> None:
        eased, self._eased = self._eased, trio.Event()
        eased.set()

    def _take(self, frame: Frame) -> bool:
        """Answer a request or start what answers it; False ends the connection."""
        try:
            request = wire.decode_request(frame.body)
        except BadRequest:
            return False
        if isinstance(request, wire.Hello):
            if self._greeted:
                return False
            self._greeted = True
            self._start(frame, self._hello(request))
            return True
        if self._mount is None:
            return False
        try:
            self._dispatch(frame, request, self._mount)
        except DwError as failure:
            self._answer(frame.correlation, _failed(failure))
        return True

    def _dispatch(self, frame: Frame, request: wire.Request, mount: Mount) -> None:  # noqa: PLR0912, C901 - one line a request
        check_request(request)
        services, correlation = self._services, frame.correlation
        state = services.metadata.state
        match request:
            case wire.Mutate():
                self._mutate(correlation, request, mount)
            case wire.Lookup(parent=parent, name=name):
                self._answer(correlation, wire.Found(queries.lookup(state, parent, name)))
            case wire.GetInode(number=number):
                self._answer(correlation, wire.Found(state.find_inode(number)))
            case wire.Read():
                self._read(frame, request)
            case wire.Store():
                self._store(frame, request, mount)
            case wire.ReadDirectory():
                self._answer(correlation, self._list(request))
            case wire.GetXattr(number=number, name=name):
                self._answer(correlation, self._xattr(state.find_xattr(state.inode(number).number, name)))
            case wire.ListXattrs(number=number):
                self._answer(correlation, wire.Names(tuple(queries.list_xattrs(state, number))))
            case wire.VolumeSpace():
                self._answer(correlation, self._space())
            case wire.Barrier():
                services.metadata.pump()  # what came with it in one read is before it
                self._answer_durable(correlation, wire.Acknowledged())
            case wire.Release(numbers=numbers):
                services.orphans.release(mount.session, numbers)
                self._answer(correlation, wire.Acknowledged())
            case wire.Recalled():
                mount.recalled.set()
                self._answer(correlation, wire.Acknowledged())
            case wire.Goodbye():
                self._start(frame, self._goodbye(mount))
            case wire.Hello():
                raise BadRequest("a second Hello")

    async def _hello(self, hello: wire.Hello) -> wire.Reply:
        check_request(hello)
        self._mount, welcome = await self._services.mounts.hello(self, hello)
        self._mount.pid = self._pid
        return welcome

    async def _goodbye(self, mount: Mount) -> wire.Reply:
        mount.peer = None  # so that closing the session does not cut off the answer
        self._mount = None
        await self._services.mounts.close(mount)
        return wire.Acknowledged()

    def _mutate(self, correlation: int, request: wire.Mutate, mount: Mount) -> None:
        if isinstance(request.operation, _GROWING):
            self._check_room(request, mount)

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                self._answer(correlation, _failed(NamespaceRefusal(outcome.number)))
                return
            if outcome.orphans:
                self._services.mounts.orphaned(outcome.orphans, mount.session)
            self._answer(correlation, wire.Changed(outcome))

        self._services.metadata.submit(
            request.operation, done, session=mount.session, request=request.request, answered=request.answered
        )

    def _check_room(self, request: wire.Mutate, mount: Mount) -> None:
        """Whether something new may be named. A retry of what happened already needs no room. Raises NoSpace."""
        try:
            self._services.space.check_metadata()
        except NoSpace:
            if self._services.metadata.recalled(mount.session, request.request) is None:
                raise

    def _read(self, frame: Frame, request: wire.Read) -> None:
        data = self._services.reader.read_nowait(request.number, request.offset, request.length)
        if data is not None:
            self._answer(frame.correlation, wire.Bytes(), data)
            return

        async def read() -> None:
            data = await self._services.reader.read(request.number, request.offset, request.length)
            self._answer(frame.correlation, wire.Bytes(), data)

        self._start(frame, read(), request.length)

    def _store(self, frame: Frame, request: wire.Store, mount: Mount) -> None:
        writer = self._services.writer

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                self._answer(frame.correlation, _failed(NamespaceRefusal(outcome.number)))
                return
            reply = wire.Stored(outcome.inodes, self._services.space.room().available)
            if request.durable:
                self._answer_durable(frame.correlation, reply)
            else:
                self._answer(frame.correlation, reply)

        if not frame.payload_length:
            writer.store_inline(mount.session, request, done)
            return

        async def store() -> None:
            done(await writer.store(mount.session, request, frame.payload, frame.payload_length))

        self._start(frame, store(), frame.payload_length)

    def _answer_durable(self, correlation: int, reply: wire.Reply) -> None:
        """Answer once everything so far would survive a power cut."""

        def durable() -> None:
            self._slow -= 1
            self._ease()
            self._answer(correlation, reply)

        self._slow += 1
        self._services.metadata.when_durable(durable)

    def _space(self) -> wire.Reply:
        available = self._services.space.room().available
        volume = self._services.metadata.state.volume
        return wire.Space(volume.used + available, available, volume.inodes)

    def _list(self, request: wire.ReadDirectory) -> wire.EntryRows:
        limit = max(1, min(request.limit, DIRECTORY_PAGE_ENTRIES_MAX))
        state = self._services.metadata.state
        return wire.EntryRows(*queries.list_rows(state, request.number, request.cookie, limit))

    def _xattr(self, value: bytes | None) -> wire.Reply:
        return _failed(NamespaceRefusal(errno.ENODATA)) if value is None else wire.Value(value)

    def _start(self, frame: Frame, work: Awaitable[wire.Reply | None], held_bytes: int = 0) -> None:
        """Let a task answer this frame."""

        async def answer() -> None:
            try:
                reply = await work
                if reply is not None:
                    self._answer(frame.correlation, reply)
            except DwError as failure:
                self._answer(frame.correlation, _failed(failure))
            finally:
                self._slow -= 1
                self._held_bytes -= held_bytes
                self._ease()

        self._slow += 1
        self._held_bytes += held_bytes
        if self._nursery is not None:
            self._nursery.start_soon(answer)

    def _answer(self, correlation: int, message: wire.Reply | wire.EntryRows | wire.Push, payload: bytes = b"") -> None:
        body = wire.encode_message(message)
        header = encode_header(correlation, len(body), len(payload))
        if len(payload) > _JOIN_BYTES_MAX:
            self._channel.put(header + body, payload)
        else:
            self._channel.put(header + body + payload)
        if not self._in_turn:
            self._flush()

    def _flush(self) -> None:
        try:
            self._channel.flush()
        except OSError:
            self.disconnect()


def _failed(failure: DwError) -> wire.Failed:
    number = failure.number if isinstance(failure, NamespaceRefusal) else failure.errno
    return wire.Failed(failure.code, number, str(failure))
