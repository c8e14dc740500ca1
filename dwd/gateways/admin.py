"""The admin socket: who may call is what the kernel says of the peer; what can be called is the registry.

Rules: calls of one connection are served one after the other. Everything is bounded: connections,
the size of a call, the time a caller takes to send one or to read an answer; at a bound the
connection ends. A stream that is not ours ends its connection, never the daemon.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias, TypeVar

import attrs
import msgspec
import trio

from dwd.codec.frame import Frame, FrameReader, encode_header
from dwd.model.checks import invariant
from dwd.model.errors import BadRequest, DwError, NotPermitted
from dwd.model.limits import CONNECTIONS_MAX
from dwd.wire.admin import (
    ANSWER_BYTES_MAX,
    CALL_BYTES_MAX,
    Answer,
    AuditRecord,
    Call,
    Failed,
    Peer,
    Progress,
    ReplyTooLarge,
    Result,
    UnknownVerb,
    decode_arguments,
    decode_call,
    encode_answer,
    failed,
    result,
)
from dwd.wire.reports import Report
from dwd.wire.verb import AnyVerb, Permission, Request, Verb
from dwd.wire.verbs import VERBS

IDLE_S_MAX: Final = 60.0  # drop the connection; from one answer to the end of the next call's frame
SEND_S_MAX: Final = 10.0  # drop the connection; a caller that does not read
PROGRESS_S: Final = 0.2  # what is shown in between is dropped
HEARTBEAT_S: Final = 5.0  # the last progress is sent again: the caller knows that we live
_ROOT_UID: Final = 0

ShowProgress: TypeAlias = Callable[[Progress], None]
RequestT = TypeVar("RequestT", bound=Request)
ReportT = TypeVar("ReportT", bound=Report)


@attrs.frozen
class Served:
    """A verb and what does it. Made by serve_verb, which keeps the types together."""

    verb: AnyVerb
    perform: Callable[[msgspec.Raw, ShowProgress], Awaitable[Report]]


def serve_verb(
    verb: Verb[RequestT, ReportT], handler: Callable[[RequestT, ShowProgress], Awaitable[ReportT]]
) -> Served:
    """Bind a verb to its handler, which may raise a Refusal or Fault, and gives its progress to its second argument."""

    async def perform(arguments: msgspec.Raw, show: ShowProgress) -> Report:
        return await handler(decode_arguments(verb, arguments), show)

    return Served(verb, perform)


@attrs.define(eq=False)
class _Latest:
    """The newest progress of a call. What nobody took yet is replaced."""

    _progress: Progress = attrs.field(factory=lambda: Progress(0, 0, "", ""))
    _news: trio.Event = attrs.field(factory=trio.Event)
    _ended: trio.Event = attrs.field(factory=trio.Event)

    def show(self, progress: Progress) -> None:
        self._progress = progress
        self._news.set()

    def end(self) -> None:
        self._ended.set()
        self._news.set()

    async def next(self) -> Progress | None:
        """Wait for news, or for as long as silence may last; None: the call has ended."""
        with trio.move_on_after(PROGRESS_S):
            await self._ended.wait()
        with trio.move_on_after(HEARTBEAT_S):
            await self._news.wait()
        if self._ended.is_set():
            return None
        self._news = trio.Event()
        return self._progress


@attrs.define(eq=False)
class _Caller:
    """One connection: its stream cut into frames, and who is behind it."""

    peer: Peer
    permission: Permission
    _stream: trio.SocketStream
    _reader: FrameReader = attrs.field(factory=lambda: FrameReader(body_max=CALL_BYTES_MAX, payload_max=0))
    _waiting: list[Frame] = attrs.field(factory=list)

    async def receive(self) -> Frame | None:
        """The next call's frame; None when there will be none.

        Raises:
            BadRequest: what came is not a frame of ours.
        """
        with trio.move_on_after(IDLE_S_MAX):
            while not self._waiting:
                space = self._reader.space()
                try:
                    count = await self._stream.socket.recv_into(space)
                except ConnectionError:
                    return None
                if count == 0:
                    return None
                self._waiting.extend(self._reader.received(count))
            return self._waiting.pop(0)
        return None

    async def send(self, correlation: int, answer: Answer) -> bool:
        """Send an answer; False when the caller is gone or does not read."""
        body = encode_answer(answer)
        if len(body) > ANSWER_BYTES_MAX:
            error = ReplyTooLarge(f"the answer has {len(body)} bytes; a frame holds {ANSWER_BYTES_MAX}")
            body = encode_answer(failed(error))
        try:
            with trio.fail_after(SEND_S_MAX):
                await self._stream.send_all(encode_header(correlation, len(body), 0) + body)
        except (trio.BrokenResourceError, trio.TooSlowError):
            return False
        return True

    async def wait_hung_up(self) -> bool:
        """Whether the caller hung up; False as soon as it sends more instead: then we cannot see it."""
        if self._waiting:
            return False
        try:
            return await self._stream.socket.recv(1, trio.socket.MSG_PEEK) == b""
        except ConnectionError:
            return True


class AdminGateway:
    """Serves the verbs that it was given."""

    def __init__(
        self,
        served: Iterable[Served],
        *,
        owner_uid: int,
        peer_of: Callable[[trio.SocketStream], Peer],
        audit: Callable[[AuditRecord], None],
        wall_clock_ns: Callable[[], int],
    ) -> None:
        self._served = {one.verb.name: one for one in served}
        self._owner_uid = owner_uid
        self._peer_of = peer_of
        self._audit = audit
        self._wall_clock_ns = wall_clock_ns
        self._connections = 0

    async def run(self, listener: trio.SocketListener) -> None:
        """Serve until cancelled. Closes the listener."""
        await trio.serve_listeners(self._connection, [listener])

    async def _connection(self, stream: trio.SocketStream) -> None:
        if self._connections >= CONNECTIONS_MAX:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            async with stream:
                peer = self._peer_of(stream)
                await self._serve_caller(_Caller(peer, self._permission(peer), stream))
        except BadRequest:
            return  # not a frame of ours: nobody is there who would read an answer
        finally:
            self._connections -= 1

    def _permission(self, peer: Peer) -> Permission:
        """What a user may: the mode of the socket decides who gets as far as here."""
        return Permission.OWN if peer.uid in {_ROOT_UID, self._owner_uid} else Permission.OBSERVE

    async def _serve_caller(self, caller: _Caller) -> None:
        while (frame := await caller.receive()) is not None:
            try:
                call = decode_call(frame.body)
            except BadRequest as error:  # a client of another version: it gets to know, and that is all
                await caller.send(frame.correlation, failed(error))
                return
            if not await self._answer(caller, frame.correlation, call):
                return

    async def _answer(self, caller: _Caller, correlation: int, call: Call) -> bool:
        """Do a call and answer it; False when the connection is over."""
        outcome = "interrupted"  # by the end of the daemon, if nothing else is known in the end
        served = self._served.get(call.verb)
        try:
            answer = await self._perform(caller, correlation, call, served)
            outcome = _outcome(answer)
        finally:
            self._audit(self._record(caller.peer, call, served, outcome))
        return answer is not None and await caller.send(correlation, answer)

    def _record(self, peer: Peer, call: Call, served: Served | None, outcome: str) -> AuditRecord:
        known = VERBS.get(call.verb) if served is None else served.verb
        name = "unknown" if known is None else known.name  # the caller's own words have no place in a log
        audit_class = VERBS["status"].audit if known is None else known.audit
        return AuditRecord(self._wall_clock_ns(), peer.uid, peer.pid, name, audit_class, outcome)

    async def _perform(
        self, caller: _Caller, correlation: int, call: Call, served: Served | None
    ) -> Result | Failed | None:
        """The answer, or None when the caller hung up."""
        if served is None:
            return failed(UnknownVerb(f"this daemon has no verb {call.verb!r}"))
        if caller.permission < served.verb.permission:
            return failed(_not_permitted(served.verb, caller))
        if not served.verb.streams:
            return await _outcome_of(served, call.arguments, lambda _: None)
        return await _stream(caller, correlation, served, call.arguments)


async def _stream(caller: _Caller, correlation: int, served: Served, arguments: msgspec.Raw) -> Result | Failed | None:
    """Do a long call: its progress goes out, and it is cancelled when its caller hangs up."""
    latest = _Latest()
    answer: Result | Failed | None = None
    async with trio.open_nursery() as nursery:

        async def send_progress() -> None:
            while (progress := await latest.next()) is not None:
                if not await caller.send(correlation, progress):
                    nursery.cancel_scope.cancel()

        async def watch() -> None:
            if await caller.wait_hung_up():
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as sending:
            sending.start_soon(send_progress)
            nursery.start_soon(watch)
            answer = await _outcome_of(served, arguments, latest.show)
            latest.end()  # the sender is not cancelled: that would leave half a frame on the wire
        nursery.cancel_scope.cancel()
    return answer


async def _outcome_of(served: Served, arguments: msgspec.Raw, show: ShowProgress) -> Result | Failed:
    try:
        report = await served.perform(arguments, show)
    except DwError as error:
        return failed(error)
    invariant(isinstance(report, served.verb.report), "V4", served.verb.name)
    return result(report)


def _outcome(answer: Result | Failed | None) -> str:
    if answer is None:
        return "hung-up"
    return answer.code if isinstance(answer, Failed) else "ok"


def _not_permitted(verb: AnyVerb, caller: _Caller) -> NotPermitted:
    return NotPermitted(
        f"user {caller.peer.uid} may {caller.permission.name.lower()}; {verb.name} takes {verb.permission.name.lower()}"
    )
