"""Store bytes of files: into a segment on the bricks, or inline in the log; then name them by a command."""

from collections.abc import Callable
from contextlib import suppress

import trio

from dwd.model.errors import BrickFault
from dwd.model.ids import SessionId
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.namespace.commands import StoreData
from dwd.namespace.outcomes import Outcome
from dwd.namespace.policies import effective, strongest
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper
from dwd.wire.checks import check_store
from dwd.wire.messages import Store

_SETTLE_S_MAX = 5  # what is not removed by then is swept at the next start


class FileWriter:
    """Performs Store requests."""

    def __init__(self, metadata: Metadata, segments: Segments, space: SpaceKeeper) -> None:
        self._metadata = metadata
        self._segments = segments
        self._space = space

    async def store(self, session: SessionId, request: Store, payload: bytearray, length: int) -> Outcome:
        """Store a request's payload, which has room for padding behind its `length` bytes.

        When this returns it survives a crash of the daemon.

        Raises:
            BadRequest: see check_store().
            NoSpace, BrickFault: nothing changed.
        """
        check_store(request, length)
        outcome = self._metadata.recalled(session, request.request)
        if outcome is not None:
            return outcome
        with self._space.room_for(length):
            return await self._store_segment(session, request, payload, length)

    def store_inline(self, session: SessionId, request: Store, done: Callable[[Outcome], None]) -> None:
        """Store a request that has no payload; `done` is called with its outcome, at the next pump() or later.

        Raises:
            BadRequest: see check_store().
            NoSpace: nothing changed.
        """
        check_store(request, 0)
        outcome = self._metadata.recalled(session, request.request)
        if outcome is not None:
            done(outcome)
            return
        self._space.check_metadata()
        self._submit(session, request, None, done)

    async def _store_segment(self, session: SessionId, request: Store, payload: bytearray, length: int) -> Outcome:
        segment = await self._segments.write(
            self._metadata.new_segment_id(), payload, length, self._protection_of(request)
        )
        try:
            return await self._commit(session, request, segment)
        finally:
            await self._settle(segment)

    def _protection_of(self, request: Store) -> Protection:
        """The strongest of its files': a mount puts only bytes of one protection together, as far as it knows."""
        state, default = self._metadata.state, self._segments.protection
        return strongest((effective(state, file.number, default) for file in request.files if file.ranges), default)

    async def _settle(self, segment: Segment) -> None:
        """A retry that was answered from memory, or a refusal, leaves shards that no record names."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_S_MAX), suppress(BrickFault):
            if not self._metadata.state.names_segment(segment.id):
                await self._segments.remove(segment)
        self._segments.in_flight.discard(segment.id)

    async def _commit(self, session: SessionId, request: Store, segment: Segment) -> Outcome:
        finished = trio.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            finished.set()

        self._submit(session, request, segment, done)
        self._metadata.pump()
        if not outcomes:
            await finished.wait()
        return outcomes[0]

    def _submit(
        self, session: SessionId, request: Store, segment: Segment | None, done: Callable[[Outcome], None]
    ) -> None:
        self._metadata.submit(
            StoreData(segment, request.files),
            done,
            session=session,
            request=request.request,
            answered=request.answered,
        )
