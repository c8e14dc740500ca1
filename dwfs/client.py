"""The wire: one connection to the daemon, kept alive; calls that wait a bounded time and are not lost.

A call is registered, sent, and parked until its reply, or its deadline, wakes it. When the connection
is lost, run() reconnects (starting the embedded daemon if nobody listens), says Hello with the same
session, and sends every unanswered request again, in order: the daemon's outcomes make a mutation
happen once. Nobody but this file sees frames.

A call without a deadline (`patient`) waits for as long as the daemon is away: background stores, whose
bytes stay readable meanwhile.
"""

import logging
import socket
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import attrs
import trio

from dwd.codec.frame import Frame, FrameReader
from dwd.model.errors import BadRequest, DwError, Fault, Unreachable, VolumeMismatch
from dwd.model.ids import InodeNumber
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
    Changed,
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
)
from dwfs.answers import expect
from dwfs.cache.spinning import SpinPolicy
from dwfs.calls import Call, Calls
from dwfs.connecting import ClientOptions, Connection, Connector, Greeting
from dwfs.outbox import Outbox
from dwfs.watch import Watch

_EXPIRY_PERIOD_S: Final = 0.25

NamespaceOperation: TypeAlias = (
    MakeNode | Link | Unlink | RemoveDirectory | Rename | SetAttributes | SetXattr | RemoveXattr
)

log = logging.getLogger(__name__)


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


@attrs.frozen(eq=False)
class _Line:
    """A connection on which requests may be sent."""

    socket: socket.socket
    reader: FrameReader
    outbox: Outbox


class Client:
    """The mount's side of the wire."""

    def __init__(self, options: ClientOptions, observer: Observer, watch: Watch) -> None:
        self._path = options.path
        self._observer = observer
        self._watch = watch
        self._answers = SpinPolicy()
        self._calls = Calls(options.timeout)
        self._connector = Connector(options, self._greeting)
        self._line: _Line | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection up; started() at the first Welcome.

        Raises:
            DwError: the first connection cannot be made; later ones are tried for ever.
        """
        self._calls.daemon_left(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            connection = await self._connector.connect()
            self._observer.welcomed(connection.welcome)
            task_status.started()
            while True:
                await self._serve(connection)
                connection = await self._connector.reconnect(self._refuse_all)
                self._observer.welcomed(connection.welcome)

    async def call(
        self, request: Request, payload: Sequence[bytes | memoryview] = (), *, patient: bool = False
    ) -> Reply:
        """Ask, and wait for the answer.

        Raises:
            Refusal: the daemon declines.
            Unreachable: there was no answer within the bound.
            DaemonFault: the daemon failed.
        """
        return (await self._perform(request, payload, patient=patient)).result()

    async def read(self, number: InodeNumber, offset: int, length: int) -> memoryview:
        """Ask for bytes of a file; fewer only at its end. Raises as call()."""
        call = await self._perform(Read(number, offset, length), (), patient=False)
        call.result()
        return call.payload

    async def mutate(self, operation: NamespaceOperation) -> Done:
        """Change the namespace. Raises as call()."""
        request = Mutate(self._calls.number(), self._calls.answered(), operation)
        return expect(await self.call(request), Changed).done

    async def store(
        self, files: tuple[FileData, ...], payload: Sequence[bytes | memoryview], *, durable: bool
    ) -> Stored:
        """Store bytes, for as long as it takes to reach the daemon. Raises as call(), but never Unreachable."""
        request = Store(self._calls.number(), self._calls.answered(), files, durable)
        return expect(await self.call(request, payload, patient=True), Stored)

    def ask(self, request: Request) -> Call:
        """Ask, and go on; answer_to() waits. It is no loss if nobody ever does."""
        call = self._calls.add(request, (), patient=False)
        if self._line is not None:
            self._send(self._line, call)
        return call

    async def answer_to(self, call: Call) -> Reply:
        """The answer to what was asked. Raises as call()."""
        if not call.is_over and not self._answer_comes(call):
            await self._calls.wait(call)
        return call.result()

    async def _perform(self, request: Request, payload: Sequence[bytes | memoryview], *, patient: bool) -> Call:
        call = self._calls.add(request, payload, patient=patient)
        if self._line is not None:
            self._send(self._line, call)
            if self._answer_comes(call):
                return call
        await self._calls.wait(call)
        return call

    def _answer_comes(self, call: Call) -> bool:
        """Wait for the answer without giving way, while nothing else asks for attention."""
        while call.reply is None and self._line is not None:
            ready = self._watch.wait(self._answers)
            if not ready.daemon or not self._take_in(self._line):
                break
        return call.reply is not None

    def _take_in(self, line: _Line) -> bool:
        """Deliver what has come; False when the connection is over, which the receiving task then learns too."""
        try:
            return self._receive_ready(line)
        except BlockingIOError:
            return True
        except (OSError, BadRequest) as error:
            log.warning("connection to %s lost: %s", self._path, error)
            self._lose(line)
            return False

    def _send(self, line: _Line, call: Call) -> None:
        try:
            line.outbox.send(call.buffers)
        except OSError:
            self._lose(line)

    def _lose(self, line: _Line) -> None:
        """The connection is gone: calls wait for the next one."""
        if self._line is not line:
            return
        self._line = None
        self._watch.set_daemon(None)
        self._calls.daemon_left(trio.current_time())
        trio.lowlevel.notify_closing(line.socket)

    async def _serve(self, connection: Connection) -> None:
        """Send again what is unanswered, then deliver answers until the connection is lost."""
        line = _Line(connection.socket, connection.reader, Outbox(connection.socket))
        self._line = line
        self._watch.set_daemon(line.socket.fileno())
        self._calls.daemon_came()
        with line.socket:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain, line)
                for call in self._calls.unanswered():
                    self._send(line, call)
                for frame in connection.pushed:
                    self._deliver(frame)
                await self._receive(line)
                self._lose(line)
                nursery.cancel_scope.cancel()

    async def _drain(self, line: _Line) -> None:
        try:
            await line.outbox.run()
        except (OSError, trio.ClosedResourceError):
            self._lose(line)

    async def _receive(self, line: _Line) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(line.socket)
                if not self._receive_ready(line):
                    return
            except BlockingIOError:
                continue
            except (OSError, BadRequest, trio.ClosedResourceError) as error:
                log.warning("connection to %s lost: %s", self._path, error)
                return

    def _receive_ready(self, line: _Line) -> bool:
        """Take in what is there; False at the end of the stream. Raises BadRequest, OSError."""
        while True:
            space = line.reader.space()
            count = line.socket.recv_into(space)
            if not count:
                return False
            for frame in line.reader.received(count):
                self._deliver(frame)
            if count < len(space):
                return True

    def _deliver(self, frame: Frame) -> None:
        answer = decode_answer(frame.body)
        if isinstance(answer, Recall | Orphaned):
            self._observer.pushed(answer)
            return
        payload = memoryview(frame.payload)[: frame.payload_length]
        if not self._calls.answer(frame.correlation, answer, payload):
            self._observer.abandoned()

    async def _expire(self) -> None:
        """Wake calls whose time is up: one look at all of them costs less than a timer for each."""
        while True:
            await trio.sleep(_EXPIRY_PERIOD_S)
            for call in self._calls.overdue(trio.current_time()):
                self._give_up(call, Unreachable(f"the daemon at {self._path} did not answer within the bound"))

    def _refuse_all(self, mismatch: VolumeMismatch) -> None:
        for call in self._calls.unanswered():
            self._give_up(call, Fault(str(mismatch)))

    def _give_up(self, call: Call, failure: DwError) -> None:
        self._calls.give_up(call, failure)
        if isinstance(call.request, Mutate):
            self._observer.abandoned()

    def _greeting(self) -> Greeting:
        return Greeting(self._calls.next_request, self._observer.holding())
