"""Turn requests into commands, propose them, and hand their outcomes back; answer queries from the state.

Everything that apply() must not choose is chosen here, before the command is logged: time, inode
numbers, segment ids.
"""

from collections.abc import Callable

import trio
from msgspec.structs import replace

from dwd.model.checks import invariant
from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import Epoch, InodeNumber, RequestNumber, SegmentId, SessionId, segment_id
from dwd.namespace.commands import Command, MakeNode, OpenEpoch, Operation
from dwd.namespace.outcomes import Done, Outcome, Refused
from dwd.namespace.sessions import find_outcome
from dwd.namespace.state import State
from dwd.ports import WallClock
from dwd.services.consensus import Consensus

_DAEMON = SessionId(b"")
_NONE = RequestNumber(0)


class Metadata:
    """The namespace as the node's other services see it."""

    def __init__(self, consensus: Consensus, state: State, clock: WallClock) -> None:
        self._consensus = consensus
        self._clock = clock
        self._time = 0
        self._next_number = 0
        self._next_segment = 0
        self.state = state
        self.epoch = Epoch(0)

    async def begin_epoch(self) -> None:
        """Mark this start of the daemon, so that its segment ids are nobody else's."""
        done = await self.perform(OpenEpoch())
        self.epoch = Epoch(done.value)

    def new_segment_id(self) -> SegmentId:
        """An id that was never used."""
        invariant(self.epoch > 0, "S1", "segment ids need an epoch")
        self._next_segment += 1
        return segment_id(self.epoch, self._next_segment)

    def submit(
        self,
        operation: Operation,
        done: Callable[[Outcome], None],
        *,
        session: SessionId = _DAEMON,
        request: RequestNumber = _NONE,
        answered: RequestNumber = _NONE,
    ) -> None:
        """Propose an operation; `done` is called with its outcome, at the next pump() or later."""
        if isinstance(operation, MakeNode):
            operation = replace(operation, number=self._new_number())
        self._time = max(self._time + 1, self._clock.now_ns(), self.state.time)
        self._consensus.submit(Command(self._time, operation, session, request, answered), done)

    def pump(self) -> None:
        """Log and apply what was submitted."""
        self._consensus.pump()

    async def perform(self, operation: Operation) -> Done:
        """Propose one of the daemon's own operations and wait for its outcome.

        Raises:
            NamespaceRefusal: it was refused.
        """
        finished = trio.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            finished.set()

        self.submit(operation, done)
        self.pump()
        if not outcomes:
            await finished.wait()
        outcome = outcomes[0]
        if isinstance(outcome, Refused):
            raise NamespaceRefusal(outcome.number, type(operation).__name__)
        return outcome

    def when_durable(self, done: Callable[[], None]) -> None:
        """Call `done` once everything applied so far would survive a power cut."""
        self._consensus.when_durable(done)

    async def barrier(self) -> None:
        """Return once everything applied so far would survive a power cut."""
        await self._consensus.barrier()

    def recalled(self, session: SessionId, request: RequestNumber) -> Outcome | None:
        """What a session's request came to, if it is a retry."""
        return find_outcome(self.state, session, request)

    @property
    def is_behind(self) -> bool:
        """Whether whoever brings more work should catch_up() first."""
        return self._consensus.is_behind

    async def catch_up(self) -> None:
        """Wait until memory can take more changes."""
        await self._consensus.catch_up()

    @property
    def is_durable(self) -> bool:
        """Whether barrier() would return at once."""
        return self._consensus.is_durable

    def _new_number(self) -> InodeNumber:
        """Numbers rise; one that a refused command had is skipped."""
        self._next_number = max(self._next_number, self.state.volume.next_number)
        number = InodeNumber(self._next_number)
        self._next_number += 1
        return number
