"""Store bytes of files: into a segment on the bricks, or inline in the log; then name them by a command."""

import trio

from dwd.model.errors import BadRequest, NamespaceRefusal
from dwd.model.ids import SessionId
from dwd.model.limits import INLINE_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.model.segment import Segment
from dwd.namespace.commands import StoreData
from dwd.namespace.outcomes import Done, Outcome, Refused
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper
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
            BadRequest: ranges that do not lie in the payload, or too much.
            NoSpace, BrickFault: nothing changed.
            NamespaceRefusal: the session is closed.
        """
        check_store(request, length)
        segment = None
        if length:
            self._space.check_data(length)
            segment = await self._segments.write(self._metadata.new_segment_id(), payload, length)
        else:
            self._space.check_metadata()
        try:
            done = await self._commit(session, request, segment)
        finally:
            if segment is not None:
                await self._settle(segment)
        if request.durable and not self._metadata.is_durable:
            await self._metadata.barrier()
        return done

    async def _settle(self, segment: Segment) -> None:
        """A retry that was answered from memory, or a refusal, leaves shards that no record names."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_S_MAX):
            if not self._metadata.state.names_segment(segment.id):
                await self._segments.remove(segment)
        self._segments.in_flight.discard(segment.id)

    async def _commit(self, session: SessionId, request: Store, segment: Segment | None) -> Done:
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
        outcome = outcomes[0]
        if isinstance(outcome, Refused):
            raise NamespaceRefusal(outcome.number, "the session is closed")
        return outcome


def check_store(request: Store, length: int) -> None:
    """Whether ranges and inline bytes are what a Store may carry. Raises BadRequest."""
    if length > SEGMENT_BYTES_MAX:
        raise BadRequest(f"a payload of {length} bytes is over {SEGMENT_BYTES_MAX}")
    if sum(len(f.ranges) for f in request.files) > SEGMENT_RANGES_MAX:
        raise BadRequest(f"more than {SEGMENT_RANGES_MAX} ranges in one request")
    inline = 0
    for file in request.files:
        inline += sum(len(data) for _, data in file.inline)
        for offset, size, at in file.ranges:
            if offset < 0 or size <= 0 or at < 0 or at + size > length:
                raise BadRequest(f"a range of {size} bytes at {at} is not in the payload of {length}")
        if any(offset < 0 for offset, _ in file.inline):
            raise BadRequest("a negative file offset")
    if inline > INLINE_BYTES_MAX:
        raise BadRequest(f"{inline} inline bytes are over {INLINE_BYTES_MAX}; send them as a payload")
