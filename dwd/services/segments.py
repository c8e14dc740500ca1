"""Write and read segments: encode, place, store on bricks; gather, verify, reconstruct.

Rules: a segment that write() returned is durable on its bricks, so a command may name it. A read
returns verified bytes or raises; what one brick cannot give is computed from any k others.
"""

import errno
from collections.abc import Mapping, Sequence
from contextlib import suppress

import attrs
import trio

from dwd.ec.layout import ShardRange, shard_ranges
from dwd.ec.reed_solomon import Codec
from dwd.ec.segment_image import SegmentImage, ShardImage, build_shards
from dwd.model.errors import BrickFault, CorruptShard, NoSpace, SegmentLost
from dwd.model.ids import NO_BRICK, BrickId, LogIndex, SegmentId, ShardIndex, VolumeId
from dwd.model.limits import SEGMENT_BYTES_MAX, SHARDS_MAX
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.rendezvous import Candidate, choose_bricks
from dwd.ports import Brick

_WRITES_IN_FLIGHT_MAX = 4  # segments; each holds its bytes and parity, and its shards' worker threads
_BRICK_THREADS_MAX = 12
_ABANDON_S_MAX = 5.0  # what is not removed by then is swept at the next start
PAYLOAD_SLACK = SHARDS_MAX * 64  # room behind a segment for padding its last shards


@attrs.define
class SegmentStatistics:
    """What happened since the start."""

    segments_written: int = 0
    bytes_written: int = 0
    shards_failed: int = 0  # could not be written; the segment has the others
    reads: int = 0
    bytes_read: int = 0
    reconstructed: int = 0  # ranges computed from other shards
    damaged: int = 0  # shards that failed a check when read


class Segments:
    """All segments of a volume, on the bricks of this node."""

    def __init__(self, volume: VolumeId, bricks: Mapping[BrickId, Brick], protection: Protection) -> None:
        self._volume = volume
        self._bricks = bricks
        self.protection = protection
        self._writing = trio.CapacityLimiter(_WRITES_IN_FLIGHT_MAX)
        self._threads = trio.CapacityLimiter(_BRICK_THREADS_MAX)
        self.counters = SegmentStatistics()
        self.in_flight: set[SegmentId] = set()  # written or being written, but not yet named by a command

    async def write(self, segment: SegmentId, buffer: bytearray, length: int) -> Segment:
        """Store the first `length` bytes of a buffer, which must have PAYLOAD_SLACK more and stay untouched.

        The caller discards the id from `in_flight` once a command has named the segment, or won't.

        Raises:
            NoSpace: a brick is full; nothing of the segment is left.
            BrickFault: too few bricks took their shard.
        """
        self.in_flight.add(segment)
        bricks = self._place(segment)
        written = False
        try:
            async with self._writing:
                image = await trio.to_thread.run_sync(
                    build_shards, self._volume, segment, self.protection, buffer, length, limiter=self._threads
                )
                placed = await self._write_shards(segment, bricks, image)
            written = True
        finally:
            if not written:
                await self._abandon(segment, bricks)
        self.counters.segments_written += 1
        self.counters.bytes_written += length
        return Segment(LogIndex(0), segment, self.protection, length, 0, placed, image.digest)

    async def _abandon(self, segment: SegmentId, bricks: Sequence[BrickId]) -> None:
        """Leave nothing of a segment that failed, or whose writer was cancelled."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _ABANDON_S_MAX), suppress(BrickFault):
            for index, brick in enumerate(bricks):
                await self.remove_shard(segment, ShardIndex(index), brick)
        self.in_flight.discard(segment)

    def _place(self, segment: SegmentId) -> Sequence[BrickId]:
        candidates = [Candidate(brick, 1.0, str(brick)) for brick in self._bricks]
        return choose_bricks(segment, candidates, self.protection.width)

    async def _write_shards(
        self, segment: SegmentId, bricks: Sequence[BrickId], image: SegmentImage
    ) -> tuple[BrickId, ...]:
        failures: dict[ShardIndex, NoSpace | BrickFault] = {}

        async def write_one(index: ShardIndex, brick: BrickId, shard: ShardImage) -> None:
            try:
                await trio.to_thread.run_sync(
                    self._bricks[brick].write_shard, segment, index, shard, limiter=self._threads
                )
            except (NoSpace, BrickFault) as failure:
                failures[index] = failure

        async with trio.open_nursery() as nursery:
            for index, (brick, shard) in enumerate(zip(bricks, image.shards, strict=True)):
                nursery.start_soon(write_one, ShardIndex(index), brick, shard)
        if not failures:
            return tuple(bricks)
        return self._settle_failures(bricks, failures)

    def _settle_failures(
        self, bricks: Sequence[BrickId], failures: Mapping[ShardIndex, NoSpace | BrickFault]
    ) -> tuple[BrickId, ...]:
        """A segment may miss shards as long as one more may be lost; a full brick refuses the whole."""
        full = next((f for f in failures.values() if isinstance(f, NoSpace)), None)
        stored = len(bricks) - len(failures)
        if full is None and stored > self.protection.k:
            self.counters.shards_failed += len(failures)
            return tuple(NO_BRICK if i in failures else b for i, b in enumerate(bricks))
        raise full if full is not None else next(iter(failures.values()))

    async def remove(self, segment: Segment) -> None:
        """Delete all shards of a segment. Raises BrickFault."""
        for index, brick in enumerate(segment.bricks):
            await self.remove_shard(segment.id, ShardIndex(index), brick)

    async def remove_shard(self, segment: SegmentId, index: ShardIndex, brick: BrickId) -> None:
        """Delete a shard, if its brick is here. Raises BrickFault."""
        if brick in self._bricks:
            await trio.to_thread.run_sync(self._bricks[brick].remove_shard, segment, index, limiter=self._threads)

    def read_nowait(self, segment: Segment, at: int, length: int) -> bytes | None:
        """Bytes [at, at+length) if they are in memory and sound, else None: then read() is to be asked."""
        shard_length = segment.protection.shard_length(segment.length)
        pieces: list[bytes] = []
        for part in shard_ranges(at, length, shard_length):
            brick = self._bricks.get(segment.bricks[part.index])
            if brick is None:
                return None
            try:
                piece = brick.read(segment.id, part.index, part.offset, part.length, wait=False)
            except (CorruptShard, BrickFault):
                return None
            if piece is None:
                return None
            pieces.append(piece)
        self.counters.reads += 1
        self.counters.bytes_read += length
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self, segment: Segment, at: int, length: int) -> bytes:
        """Bytes [at, at+length) of a segment, verified.

        Raises:
            SegmentLost: fewer than k of its shards can be read.
        """
        shard_length = segment.protection.shard_length(segment.length)
        pieces = [await self._read_part(segment, part) for part in shard_ranges(at, length, shard_length)]
        self.counters.reads += 1
        self.counters.bytes_read += length
        return b"".join(pieces)

    async def _read_part(self, segment: Segment, part: ShardRange) -> bytes:
        problems: list[str] = []
        found = await self._try_shard(segment, part.index, part, problems)
        if found is not None:
            return found
        return await self._reconstruct(segment, part, problems)

    async def _reconstruct(self, segment: Segment, part: ShardRange, problems: list[str]) -> bytes:
        available: dict[ShardIndex, bytes] = {}
        for index in range(segment.protection.width):
            if index == part.index or len(available) == segment.protection.k:
                continue
            piece = await self._try_shard(segment, ShardIndex(index), part, problems)
            if piece is not None:
                available[ShardIndex(index)] = piece
        if len(available) < segment.protection.k:
            raise SegmentLost(
                f"segment {segment.id:016x}: {len(available)} of the {segment.protection.k} shards needed can be read "
                f"({'; '.join(problems)}); bring a missing brick back, or restore the files from a backup"
            )
        self.counters.reconstructed += 1
        codec = Codec(segment.protection)
        return bytes(codec.reconstruct(available, [part.index], part.length)[part.index])

    async def _try_shard(
        self, segment: Segment, index: ShardIndex, part: ShardRange, problems: list[str]
    ) -> bytes | None:
        """The same range of one shard, or None with the problem noted."""
        brick = self._bricks.get(segment.bricks[index])
        if brick is None:
            problems.append(f"shard {index} is on brick {segment.bricks[index]}, which is not here")
            return None
        try:
            return await trio.to_thread.run_sync(
                _read_waiting, brick, segment.id, index, part.offset, part.length, limiter=self._threads
            )
        except CorruptShard as fault:
            self.counters.damaged += 1
            problems.append(str(fault))
        except BrickFault as fault:
            problems.append(str(fault))
        return None

    async def verify(self, segment: Segment) -> list[tuple[ShardIndex, str]]:
        """Read every shard whole; the damaged and missing ones, with what is wrong."""
        problems: list[tuple[ShardIndex, str]] = []
        for index, number in enumerate(segment.bricks):
            brick = self._bricks.get(number)
            if brick is None:
                problems.append((ShardIndex(index), f"its brick {number} is not here"))
                continue
            try:
                await trio.to_thread.run_sync(brick.verify_shard, segment.id, ShardIndex(index), limiter=self._threads)
            except (CorruptShard, BrickFault) as fault:
                problems.append((ShardIndex(index), str(fault)))
        return problems

    async def missing_shards(self, segment: Segment) -> list[tuple[ShardIndex, str]]:
        """The shards that are not there or cannot be opened; of the others only the first block is read."""
        part_length = min(1, segment.length)
        problems: list[str] = []
        missing: list[tuple[ShardIndex, str]] = []
        for index in range(segment.protection.width):
            part = ShardRange(ShardIndex(index), 0, part_length)
            if await self._try_shard(segment, part.index, part, problems) is None:
                missing.append((part.index, problems[-1]))
        return missing

    async def list_shards(self, brick: BrickId) -> list[tuple[SegmentId, ShardIndex]]:
        """Every shard that lies on a brick. Raises BrickFault."""
        return await trio.to_thread.run_sync(lambda: list(self._bricks[brick].list_shards()), limiter=self._threads)

    @property
    def bricks(self) -> Mapping[BrickId, Brick]:
        """The bricks that are here."""
        return self._bricks


def _read_waiting(brick: Brick, segment: SegmentId, index: ShardIndex, offset: int, length: int) -> bytes:
    data = brick.read(segment, index, offset, length, wait=True)
    if data is None:
        raise BrickFault(f"brick {brick.id} gave no answer: {errno.errorcode[errno.EIO]}")
    return data


def new_buffer(length: int) -> bytearray:
    """A zeroed buffer that write() can take."""
    if length > SEGMENT_BYTES_MAX:
        raise NoSpace(f"a segment of {length} bytes is over {SEGMENT_BYTES_MAX}")
    return bytearray(length + PAYLOAD_SLACK)
