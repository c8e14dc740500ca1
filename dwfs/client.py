"""The wire: one connection to the daemon, kept alive; calls that wait a bounded time and are not lost.

A call is registered, sent, and parked until its reply, or its deadline, wakes it. When the connection
is lost, run() reconnects (starting the embedded daemon if nobody listens), says Hello with the same
session, and sends every unanswered request again, in order: the daemon's outcomes make a mutation
happen once. Nobody but this file sees frames.

A call without a deadline (`patient`) waits for as long as the daemon is away: background stores, whose
bytes stay readable meanwhile.
"""

import errno
import logging
import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, TypeAlias, TypeVar

import attrs
import trio

from dwd.codec.frame import Frame, FrameReader, encode_header
from dwd.model.errors import BadRequest, DwError, Fault, NamespaceRefusal, NoSpace, Unreachable, VolumeMismatch
from dwd.model.ids import InodeNumber, RequestNumber, SessionId, VolumeId
from dwd.model.units import KIB
from dwd.namespace.commands import (
    FileData,
    Link,
    MakeNode,
    RemoveDirectory,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetXattr,
    Unlink,
)
from dwd.namespace.outcomes import Done
from dwd.wire.messages import (
    PROTOCOL_VERSION,
    Acknowledged,
    Changed,
    Failed,
    Hello,
    Mutate,
    Orphaned,
    Read,
    Recall,
    Reply,
    Request,
    Store,
    Stored,
    Welcome,
    decode_answer,
    encode_message,
)
from dwfs.cache.spinning import SpinPolicy
from dwfs.watch import Watch

_SOCKET_BUFFER_BYTES: Final = 4096 * KIB  # asked for; the system gives what net.core.wmem_max allows
_BUFFERS_MAX: Final = 512  # of one gathering write; IOV_MAX is 1,024
_BACKOFF_MIN_S: Final = 0.05
_BACKOFF_MAX_S: Final = 1.0
_EXPIRY_PERIOD_S: Final = 0.25
_GRACE_S: Final = 2.0  # of a call that begins when the daemon has been away for long

NamespaceOperation: TypeAlias = (
    MakeNode | Link | Unlink | RemoveDirectory | Rename | SetAttributes | SetXattr | RemoveXattr
)

_Expected = TypeVar("_Expected", bound=Reply)

log = logging.getLogger(__name__)


class DaemonFault(Fault):
    """The daemon reports a Fault of its own, with the errno that it chose."""

    def __init__(self, code: str, number: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.number = number


class Observer(Protocol):
    """Who hears what the daemon says besides the answers to calls. Called between checkpoints: must not wait."""

    def holding(self) -> tuple[InodeNumber, ...]:
        """The orphans to name in Hello."""

    def welcomed(self, welcome: Welcome) -> None:
        """A connection is up."""

    def pushed(self, push: Recall | Orphaned) -> None:
        """The daemon says something unasked."""

    def abandoned(self) -> None:
        """A mutation was given up, and may have happened all the same: what is cached may be wrong."""


@attrs.define(eq=False)
class _Call:
    """A request without an answer yet."""

    request: Request
    buffers: list[bytes | memoryview]
    deadline: float
    task: trio.lowlevel.Task | None = None
    reply: Reply | None = None
    payload: memoryview = attrs.field(factory=lambda: memoryview(b""))
    failure: DwError | None = None


class Client:
    """The mount's side of the wire."""

    def __init__(
        self,
        path: Path,
        *,
        session: SessionId,
        label: str,
        timeout: float,
        observer: Observer,
        start_daemon: Callable[[], Awaitable[None]],
        watch: Watch,
    ) -> None:
        self._path = path
        self._session = session
        self._label = label
        self._timeout = timeout
        self._observer = observer
        self._start_daemon = start_daemon
        self._socket: socket.socket | None = None  # set while requests may be sent
        self._calls: dict[int, _Call] = {}
        self._mutations: dict[RequestNumber, None] = {}  # unanswered, in order
        self._correlation = 0
        self._next_request = RequestNumber(1)
        self._unsent: deque[bytes | memoryview] = deque()
        self._writable_wanted = trio.Event()
        self._away_since: float | None = 0.0
        self._volume: VolumeId | None = None
        self._reader = FrameReader()
        self._watch = watch
        self._answers = SpinPolicy()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection up; started() at the first Welcome.

        Raises:
            DwError: the first connection cannot be made; later ones are tried for ever.
        """
        self._away_since = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            connection = await self._connect()
            reader = await self._shake_hands(connection)
            task_status.started()
            while True:
                await self._serve(connection, reader)
                connection, reader = await self._reconnect()

    async def call(
        self, request: Request, payload: Sequence[bytes | memoryview] = (), *, patient: bool = False
    ) -> Reply:
        """Ask, and wait for the answer.

        Raises:
            Refusal: the daemon declines.
            Unreachable: there was no answer within the bound.
            DaemonFault: the daemon failed.
        """
        return (await self._perform(request, payload, patient=patient)).reply or Acknowledged()

    async def read(self, number: InodeNumber, offset: int, length: int) -> memoryview:
        """Ask for bytes of a file; fewer only at its end. Raises as call()."""
        return (await self._perform(Read(number, offset, length), (), patient=False)).payload

    async def mutate(self, operation: NamespaceOperation) -> Done:
        """Change the namespace. Raises as call()."""
        return expect(await self.call(Mutate(self._number(), self._answered(), operation)), Changed).done

    async def store(
        self, files: tuple[FileData, ...], payload: Sequence[bytes | memoryview], *, durable: bool
    ) -> Stored:
        """Store bytes, for as long as it takes to reach the daemon. Raises as call(), but never Unreachable."""
        request = Store(self._number(), self._answered(), files, durable)
        return expect(await self.call(request, payload, patient=True), Stored)

    def _number(self) -> RequestNumber:
        number = self._next_request
        self._next_request = RequestNumber(number + 1)
        self._mutations[number] = None
        return number

    def _answered(self) -> RequestNumber:
        """All requests up to this one have been answered."""
        return RequestNumber(next(iter(self._mutations), self._next_request) - 1)

    async def _perform(self, request: Request, payload: Sequence[bytes | memoryview], *, patient: bool) -> _Call:
        call = self._register(request, payload, patient=patient)
        correlation = self._correlation
        if self._socket is not None:
            self._send(self._socket, call.buffers)
            if self._answer_comes(call):
                return _answered_call(call)

        def abort(_: Callable[[], object]) -> trio.lowlevel.Abort:
            call.task = None
            self._forget(correlation)
            return trio.lowlevel.Abort.SUCCEEDED

        call.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)
        return _answered_call(call)

    def _answer_comes(self, call: _Call) -> bool:
        """Wait for the answer without giving way, while nothing else asks for attention."""
        while call.reply is None and self._socket is not None:
            ready = self._watch.wait(self._answers)
            if not ready.daemon or not self._take_in(self._socket):
                break
        return call.reply is not None

    def _take_in(self, connection: socket.socket) -> bool:
        """Deliver what has come; False when the connection is over, which the receiving task then learns too."""
        try:
            return self._receive_ready(connection, self._reader)
        except BlockingIOError:
            return True
        except (OSError, BadRequest) as error:
            log.warning("connection to %s lost: %s", self._path, error)
            self._lose(connection)
            return False

    def _register(self, request: Request, payload: Sequence[bytes | memoryview], *, patient: bool) -> _Call:
        self._correlation += 1
        body = encode_message(request)
        header = encode_header(self._correlation, len(body), sum(map(len, payload)))
        deadline = math.inf if patient else self._deadline(trio.current_time())
        call = _Call(request, [header + body, *payload], deadline)
        self._calls[self._correlation] = call
        return call

    def _deadline(self, now: float) -> float:
        """A call waits as long as the daemon has left to come back, and a little at least."""
        if self._away_since is None:
            return now + self._timeout
        return min(now + self._timeout, max(self._away_since + self._timeout, now + _GRACE_S))

    def _forget(self, correlation: int) -> _Call | None:
        call = self._calls.pop(correlation, None)
        if call is not None and isinstance(call.request, Mutate | Store):
            del self._mutations[call.request.request]
        return call

    def _send(self, connection: socket.socket, buffers: Sequence[bytes | memoryview]) -> None:
        """Write what the socket takes at once; _drain() does the rest."""
        if self._unsent:
            self._unsent.extend(buffers)
            return
        try:
            sent = connection.sendmsg(buffers[:_BUFFERS_MAX])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose(connection)
            return
        for buffer in buffers:
            if sent >= len(buffer):
                sent -= len(buffer)
                continue
            self._unsent.append(memoryview(buffer)[sent:])
            sent = 0
        if self._unsent:
            self._writable_wanted.set()

    async def _drain(self, connection: socket.socket) -> None:
        """Write what did not fit into the socket."""
        while True:
            await self._writable_wanted.wait()
            while self._unsent:
                try:
                    await trio.lowlevel.wait_writable(connection)
                    sent = connection.sendmsg(list(islice(self._unsent, _BUFFERS_MAX)))
                except BlockingIOError:
                    continue
                except (OSError, trio.ClosedResourceError):
                    self._lose(connection)
                    return
                self._drop_sent(sent)
            self._writable_wanted = trio.Event()

    def _drop_sent(self, sent: int) -> None:
        while sent:
            first = self._unsent[0]
            if sent < len(first):
                self._unsent[0] = memoryview(first)[sent:]
                return
            self._unsent.popleft()
            sent -= len(first)

    def _lose(self, connection: socket.socket) -> None:
        """The connection is gone: calls wait for the next one."""
        if self._socket is not connection:
            return
        self._socket = None
        self._watch.set_daemon(None)
        self._away_since = trio.current_time()
        self._unsent.clear()
        self._writable_wanted = trio.Event()
        trio.lowlevel.notify_closing(connection)

    async def _serve(self, connection: socket.socket, reader: FrameReader) -> None:
        """Send again what is unanswered, then deliver answers until the connection is lost."""
        self._socket = connection
        self._reader = reader
        self._watch.set_daemon(connection.fileno())
        self._away_since = None
        with connection:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain, connection)
                for call in list(self._calls.values()):
                    self._send(connection, call.buffers)
                await self._receive(connection, reader)
                self._lose(connection)
                nursery.cancel_scope.cancel()

    async def _receive(self, connection: socket.socket, reader: FrameReader) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(connection)
                if not self._receive_ready(connection, reader):
                    return
            except BlockingIOError:
                continue
            except (OSError, BadRequest, trio.ClosedResourceError) as error:
                log.warning("connection to %s lost: %s", self._path, error)
                return

    def _receive_ready(self, connection: socket.socket, reader: FrameReader) -> bool:
        """Take in what is there; False at the end of the stream. Raises BadRequest, OSError."""
        while True:
            space = reader.space()
            count = connection.recv_into(space)
            if not count:
                return False
            for frame in reader.received(count):
                self._deliver(frame)
            if count < len(space):
                return True

    def _deliver(self, frame: Frame) -> None:
        answer = decode_answer(frame.body)
        if isinstance(answer, Recall | Orphaned):
            self._observer.pushed(answer)
            return
        call = self._forget(frame.correlation)
        if call is None:
            self._observer.abandoned()
            return
        if isinstance(answer, Failed):
            call.failure = _failure(answer)
        call.reply = answer
        call.payload = memoryview(frame.payload)[: frame.payload_length]
        if call.task is not None:
            trio.lowlevel.reschedule(call.task)

    async def _expire(self) -> None:
        """Wake calls whose time is up: one look at all of them costs less than a timer for each."""
        while True:
            await trio.sleep(_EXPIRY_PERIOD_S)
            now = trio.current_time()
            overdue = [correlation for correlation, call in self._calls.items() if call.deadline <= now]
            for correlation in overdue:
                self._give_up(correlation, Unreachable(f"the daemon at {self._path} did not answer within the bound"))

    def _give_up(self, correlation: int, failure: DwError) -> None:
        call = self._forget(correlation)
        if call is None or call.task is None:
            return
        call.failure = failure
        trio.lowlevel.reschedule(call.task)
        if isinstance(call.request, Mutate):
            self._observer.abandoned()

    async def _reconnect(self) -> tuple[socket.socket, FrameReader]:
        """Try until it works, with growing pauses."""
        pause = _BACKOFF_MIN_S
        while True:
            try:
                connection = await self._connect()
                return connection, await self._shake_hands(connection)
            except DwError as error:
                log.warning("no connection to %s yet: %s", self._path, error)
            await trio.sleep(pause)
            pause = min(2 * pause, _BACKOFF_MAX_S)

    async def _connect(self) -> socket.socket:
        """Connect; start the daemon if nobody listens.

        Raises:
            DwError: there is no daemon and none can be started.
        """
        connection = self._try_connect()
        if connection is None:
            await self._start_daemon()
            connection = self._try_connect()
        if connection is None:
            raise Unreachable(f"nobody listens on {self._path}; look into dwd.log beside it")
        return connection

    def _try_connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        try:
            connection.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise Unreachable(f"cannot connect to {self._path}: {error.strerror}") from error
        return connection

    async def _shake_hands(self, connection: socket.socket) -> FrameReader:
        """Hello and Welcome.

        Raises:
            DwError: the daemon refuses us, is another volume's, or does not answer.
        """
        body = encode_message(
            Hello(PROTOCOL_VERSION, self._session, self._label, self._next_request, self._observer.holding())
        )
        reader = FrameReader()
        try:
            connection.sendall(encode_header(0, len(body), 0) + body)
            with trio.fail_after(self._timeout):
                welcome = await self._first_answer(connection, reader)
            self._accept(welcome)
        except (OSError, trio.TooSlowError) as error:
            connection.close()
            raise Unreachable(f"the daemon at {self._path} does not answer Hello") from error
        except DwError:
            connection.close()
            raise
        return reader

    async def _first_answer(self, connection: socket.socket, reader: FrameReader) -> Welcome:
        frames: list[Frame] = []
        while not frames:
            await trio.lowlevel.wait_readable(connection)
            count = connection.recv_into(reader.space())
            if not count:
                raise Unreachable(f"the daemon at {self._path} closed the connection at Hello")
            frames = reader.received(count)
        answer = decode_answer(frames[0].body)
        if isinstance(answer, Failed):
            raise _failure(answer)
        if not isinstance(answer, Welcome) or len(frames) > 1:
            raise BadRequest(f"the daemon at {self._path} did not answer Hello with Welcome")
        return answer

    def _accept(self, welcome: Welcome) -> None:
        if self._volume is not None and welcome.volume != self._volume:
            failure = Fault(f"the daemon at {self._path} now serves another volume; unmount, and mount again")
            for correlation in list(self._calls):
                self._give_up(correlation, failure)
            raise VolumeMismatch(str(failure))
        self._volume = welcome.volume
        self._observer.welcomed(welcome)


def _answered_call(call: _Call) -> _Call:
    if call.failure is not None:
        raise call.failure
    return call


def expect(reply: Reply, kind: type[_Expected]) -> _Expected:
    """The reply, as what it must be.

    Raises:
        DaemonFault: it is another.
    """
    if not isinstance(reply, kind):
        raise DaemonFault("bad-reply", errno.EIO, f"{type(reply).__name__} where {kind.__name__} belongs")
    return reply


def _failure(failed: Failed) -> DwError:
    if failed.code == NoSpace.code:
        return NoSpace(failed.message)
    if failed.code == NamespaceRefusal.code:
        return NamespaceRefusal(failed.number, failed.message)
    return DaemonFault(failed.code, failed.number, failed.message)
