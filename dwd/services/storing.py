"""Store bytes of files: into a segment on the bricks, or inline in the log; then name them by a command."""

from contextlib import suppress

import trio

from dwd.model.errors import BrickFault, NamespaceRefusal
from dwd.model.ids import SessionId
from dwd.model.segment import Segment
from dwd.namespace.commands import StoreData
from dwd.namespace.outcomes import Done, Outcome, Refused
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

    async def store(self, session: SessionId, request: Store, payload: bytearray, length: int) -> Done:
        """Store a request's bytes; `payload` has room for padding behind its `length` bytes.

        When this returns they survive a crash of the daemon, and with `durable` a power cut.

        Raises:
            BadRequest: see check_store().
            NoSpace, BrickFault: nothing changed.
            NamespaceRefusal: the session is closed, or EFBIG.
        """
        check_store(request, length)
        outcome = self._metadata.recalled(session, request.request)
        if outcome is None and length:
            with self._space.room_for(length):
                outcome = await self._store_segment(session, request, payload, length)
        elif outcome is None:
            self._space.check_metadata()
            outcome = await self._commit(session, request, None)
        if isinstance(outcome, Refused):
            raise NamespaceRefusal(outcome.number, "the session is closed")
        if request.durable and not self._metadata.is_durable:
            await self._metadata.barrier()
        return outcome

    async def _store_segment(self, session: SessionId, request: Store, payload: bytearray, length: int) -> Outcome:
        segment = await self._segments.write(self._metadata.new_segment_id(), payload, length)
        try:
            return await self._commit(session, request, segment)
        finally:
            await self._settle(segment)

    async def _settle(self, segment: Segment) -> None:
        """A retry that was answered from memory, or a refusal, leaves shards that no record names."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_S_MAX), suppress(BrickFault):
            if not self._metadata.state.names_segment(segment.id):
                await self._segments.remove(segment)
        self._segments.in_flight.discard(segment.id)

    async def _commit(self, session: SessionId, request: Store, segment: Segment | None) -> Outcome:
        finished = trio.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            finished.set()

        self._metadata.submit(
            StoreData(segment, request.files),
            done,
            session=session,
            request=request.request,
            answered=request.answered,
        )
        self._metadata.pump()
        if not outcomes:
            await finished.wait()
        return outcomes[0]
