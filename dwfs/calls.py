"""Calls that have no answer yet: by the number on the wire, with their deadlines, in the order of their sending.

The watermark of mutations is here too: `answered` tells the daemon which outcomes it need not keep. Who
waits parks its task in the call, and is woken by the answer, or by giving up.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from dwd.codec.frame import encode_header
from dwd.model.errors import DwError
from dwd.model.ids import RequestNumber
from dwd.wire.messages import Failed, Mutate, Reply, Request, Store, encode_message
from dwfs.answers import failure_of

_GRACE_S: Final = 2.0  # of a call that begins when the daemon has been away for long


@attrs.define(eq=False)
class Call:
    """A request without an answer yet."""

    correlation: int
    request: Request
    buffers: list[bytes | memoryview]
    deadline: float
    task: trio.lowlevel.Task | None = None
    reply: Reply | None = None
    payload: memoryview = attrs.field(factory=lambda: memoryview(b""))
    failure: DwError | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is an answer, or a failure in its place."""
        return self.reply is not None or self.failure is not None

    def result(self) -> Reply:
        """The answer; raises the failure."""
        if self.failure is not None:
            raise self.failure
        assert self.reply is not None
        return self.reply


class Calls:
    """The table."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._calls: dict[int, Call] = {}
        self._mutations: dict[RequestNumber, None] = {}  # unanswered, in order
        self._correlation = 0
        self.next_request = RequestNumber(1)
        self._away_since: float | None = 0.0

    def daemon_left(self, now: float) -> None:
        """From now on there is no connection."""
        self._away_since = now

    def daemon_came(self) -> None:
        """There is a connection."""
        self._away_since = None

    def number(self) -> RequestNumber:
        """The number of the next mutation, which from now on is unanswered."""
        number = self.next_request
        self.next_request = RequestNumber(number + 1)
        self._mutations[number] = None
        return number

    def answered(self) -> RequestNumber:
        """All requests up to this one have been answered."""
        return RequestNumber(next(iter(self._mutations), self.next_request) - 1)

    def add(self, request: Request, payload: Sequence[bytes | memoryview], *, patient: bool) -> Call:
        """Register a request; a patient one has no deadline."""
        self._correlation += 1
        body = encode_message(request)
        header = encode_header(self._correlation, len(body), sum(map(len, payload)))
        deadline = math.inf if patient else self._deadline(trio.current_time())
        call = Call(self._correlation, request, [header + body, *payload], deadline)
        self._calls[self._correlation] = call
        return call

    async def wait(self, call: Call) -> None:
        """Park until the call is answered or given up. Who is cancelled meanwhile has left the table."""

        def abort(_: Callable[[], object]) -> trio.lowlevel.Abort:
            call.task = None
            self.forget(call.correlation)
            return trio.lowlevel.Abort.SUCCEEDED

        call.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def answer(self, correlation: int, reply: Reply, payload: memoryview) -> bool:
        """Deliver; False when nobody waits for it any more."""
        call = self.forget(correlation)
        if call is None:
            return False
        if isinstance(reply, Failed):
            call.failure = failure_of(reply)
        call.reply, call.payload = reply, payload
        if call.task is not None:
            trio.lowlevel.reschedule(call.task)
        return True

    def unanswered(self) -> list[Call]:
        """All, in the order in which they were sent."""
        return list(self._calls.values())

    def overdue(self, now: float) -> list[Call]:
        """Those whose time is up."""
        return [call for call in self._calls.values() if call.deadline <= now]

    def give_up(self, call: Call, failure: DwError) -> None:
        """Wake who waits, with a failure."""
        if self.forget(call.correlation) is None:
            return
        call.failure = failure
        if call.task is not None:
            trio.lowlevel.reschedule(call.task)

    def forget(self, correlation: int) -> Call | None:
        """Take a call out of the table."""
        call = self._calls.pop(correlation, None)
        if call is not None and isinstance(call.request, Mutate | Store):
            del self._mutations[call.request.request]
        return call

    def _deadline(self, now: float) -> float:
        """A call waits as long as the daemon has left to come back, and a little at least."""
        if self._away_since is None:
            return now + self._timeout
        return min(now + self._timeout, max(self._away_since + self._timeout, now + _GRACE_S))
