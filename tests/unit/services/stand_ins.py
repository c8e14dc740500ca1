"""A namespace without a log and segments without bricks, for services that stand between them."""

from collections.abc import Callable

from msgspec.structs import replace

from dwd.model.errors import SegmentLost
from dwd.model.ids import RequestNumber, SegmentId, SessionId
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.namespace.commands import Operation
from dwd.namespace.outcomes import Done, Outcome
from tests.unit.namespace.volume import Volume


class DirectMetadata:
    """Metadata whose commands are applied at once."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.state = volume.state

    def new_segment_id(self) -> SegmentId:
        """The number that the volume keeps the bytes under."""
        return SegmentId((1 << 40) + len(self._volume.written) + 1)

    def recalled(self, session: SessionId, request: RequestNumber) -> Outcome | None:
        """No request was made before."""

    def submit(self, operation: Operation, done: Callable[[Outcome], None], **_: object) -> None:
        """Apply."""
        done(self._volume.outcome(operation))

    def pump(self) -> None:
        """Nothing waits."""

    async def perform(self, operation: Operation) -> Done:
        """Apply what must succeed."""
        return self._volume.do(operation)


class MemorySegments:
    """Segments in memory; `wanted` says what each was to have, in order."""

    def __init__(self, volume: Volume, protection: Protection) -> None:
        self._volume = volume
        self.protection = protection
        self.wanted: list[Protection] = []
        self.in_flight: set[SegmentId] = set()
        self.lost: set[SegmentId] = set()

    async def write(self, segment: SegmentId, buffer: bytearray, length: int, wanted: Protection) -> Segment:
        """Keep the bytes."""
        self.wanted.append(wanted)
        self.in_flight.add(segment)
        return replace(self._volume.segment(bytes(buffer[:length]), wanted), id=segment)

    async def read(self, segment: Segment, at: int, length: int) -> bytes:
        """Bytes that were kept."""
        if segment.id in self.lost:
            raise SegmentLost(f"segment {segment.id:016x}")
        return self._volume.written[segment.id][at : at + length]

    async def remove(self, segment: Segment) -> None:
        """Never: what was written is named."""
        raise AssertionError(segment)
