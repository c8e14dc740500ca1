"""Read ranges of segments: from the shard that holds them, or computed from any k others.

Rules: no byte is returned that was not verified. A shard that keeps us waiting much longer than its peers do is
computed meanwhile, and the first answer wins. Every shard found damaged or missing is reported.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

import attrs
import trio

from dwd.ec.isal import Buffer
from dwd.ec.layout import ShardRange, shard_ranges
from dwd.ec.reed_solomon import Codec
from dwd.model.errors import BrickFault, CorruptShard, FormatTooNew, SegmentLost, ShardMissing
from dwd.model.ids import SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.ports import Brick
from dwd.services.brick_calls import UNREADABLE, BrickCalls, ShardRead
from dwd.services.bricks import Bricks
from dwd.services.computed_shards import ComputedShards
from dwd.services.hedging import Hedging
from dwd.services.segment_counters import SegmentStatistics

_ANSWER_S_MAX: Final = 5.0  # of a brick, when no hedge is allowed any more
_INLINE_BYTES_MAX: Final = 32 * 1024  # of a range: computing that takes less time than a thread

OnDamage = Callable[[SegmentId, ShardIndex], None]


@attrs.frozen
class _Source:
    """A shard that may be read, on the brick that has it."""

    index: ShardIndex
    brick: Brick


class SegmentReader:
    """Reads the segments of a volume."""

    def __init__(self, bricks: Bricks, calls: BrickCalls, counters: SegmentStatistics, on_damage: OnDamage) -> None:
        self._bricks = bricks
        self._online = bricks.online()
        self._calls = calls
        self._counters = counters
        self._on_damage = on_damage
        self._hedging = Hedging()
        self._computed = ComputedShards()
        self._computing: dict[SegmentId, trio.Event] = {}

    def read_nowait(self, segment: Segment, at: int, length: int) -> bytes | None:
        """Bytes [at, at+length) if they are in memory and sound, else None: then read() is to be asked."""
        pieces: list[bytes] = []
        for part in shard_ranges(at, length, segment.protection.shard_length(segment.length)):
            brick = self._online.get(segment.bricks[part.index])
            try:
                piece = self._computed.find(segment.id, part) if self._computed.any else None
                if piece is None and brick is not None:
                    piece = brick.read(segment.id, part.index, part.offset, part.length, wait=False)
            except UNREADABLE:
                return None
            if piece is None:
                return None
            pieces.append(piece)
        self._counters.reads += 1
        self._counters.bytes_read += length
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read(self, segment: Segment, at: int, length: int) -> bytes:
        """Bytes [at, at+length) of a segment, verified.

        Raises:
            SegmentLost: fewer than k of its shards can be read.
        """
        shard_length = segment.protection.shard_length(segment.length)
        problems: list[str] = []
        pieces = []
        for part in shard_ranges(at, length, shard_length):
            piece = await self._read_part(segment, part, problems)
            if piece is None:
                raise lost(segment, problems)
            pieces.append(piece)
        self._counters.reads += 1
        self._counters.bytes_read += length
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_part(self, segment: Segment, part: ShardRange, problems: list[str]) -> bytes | None:
        number = segment.bricks[part.index]
        kept = self._computed.find(segment.id, part)
        if kept is not None:
            return kept
        brick = self._bricks.find(number)
        if brick is not None and not self._bricks.doubtful(number):
            return await self._read_hedged(segment, part, brick, problems)
        computed = await self._compute_streamed(segment, part, problems)
        if computed is None and brick is not None:
            return await self.try_shard(segment, part, brick, problems)
        return computed

    # -- From the shard itself -----------------------------------------------------------------------------------------

    async def _read_hedged(self, segment: Segment, part: ShardRange, brick: Brick, problems: list[str]) -> bytes | None:
        """Ask the brick; compute the bytes when it fails, or when it takes too long: the first answer wins."""
        asked = ShardRead(brick, segment.id, part)
        self._hedging.note(brick.id, await self._calls.ask(asked, self._hedging.bound_s))
        if not asked.ended:
            return await self._hedge(segment, asked, problems)
        if asked.failure is not None:
            problems.append(str(asked.failure))
            await self.report(segment.id, part.index, brick, asked.failure)
            return await self._compute_streamed(segment, part, problems)
        return asked.found

    async def _hedge(self, segment: Segment, asked: ShardRead, problems: list[str]) -> bytes | None:
        """Compute the bytes that a brick keeps us waiting for, unless they come first."""
        part = asked.part
        if not self._hedging.take():
            with trio.move_on_after(_ANSWER_S_MAX):
                await asked.answered.wait()
        if asked.found is not None:
            return asked.found
        self._counters.hedges += 1
        computed: bytes | None = None
        with trio.CancelScope() as race:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_found, asked, race)
                computed = await self._compute_streamed(segment, part, problems)
                if computed is None:
                    with trio.move_on_after(_ANSWER_S_MAX):
                        await asked.answered.wait()
                race.cancel()
        if asked.failure is not None:
            problems.append(str(asked.failure))
            await self.report(segment.id, part.index, asked.brick, asked.failure)
        self._counters.hedges_won += computed is not None
        return asked.found if computed is None else computed

    async def try_shard(self, segment: Segment, part: ShardRange, brick: Brick, problems: list[str]) -> bytes | None:
        """A range of one shard from its brick, or None with the problem noted and reported."""
        began = trio.current_time()
        try:
            return await self._calls.read(brick, segment.id, part.index, part.offset, part.length)
        except UNREADABLE as fault:
            problems.append(str(fault))
            await self.report(segment.id, part.index, brick, fault)
        finally:
            self._hedging.note(brick.id, trio.current_time() - began)
        return None

    async def report(
        self, segment: SegmentId, index: ShardIndex, brick: Brick, fault: CorruptShard | BrickFault | FormatTooNew
    ) -> None:
        """A shard could not be read: tell the healer, if it is the shard's fault and not its brick's."""
        if isinstance(fault, CorruptShard):
            self._counters.damaged += 1
            self._on_damage(segment, index)
        elif isinstance(fault, BrickFault) and await self._bricks.inspect(brick.id):
            self._counters.missing += isinstance(fault, ShardMissing)
            self._on_damage(segment, index)

    # -- From the others -----------------------------------------------------------------------------------------------

    async def _compute_streamed(self, segment: Segment, part: ShardRange, problems: list[str]) -> bytes | None:
        """A range of a shard without asking its brick; a stream has all that its segment lacks computed at once."""
        while (busy := self._computing.get(segment.id)) is not None:
            await busy.wait()
        kept = self._computed.find(segment.id, part)
        if kept is not None:
            return kept
        if not self._computed.is_streamed(segment.id, part):
            found = await self.compute(segment, [part.index], part.offset, part.length, problems)
            return None if found is None else _cut(found[part.index], 0, part.length)
        self._computing[segment.id] = done = trio.Event()
        try:
            return await self._compute_whole(segment, part, problems)
        finally:
            del self._computing[segment.id]
            done.set()

    async def _compute_whole(self, segment: Segment, part: ShardRange, problems: list[str]) -> bytes | None:
        protection = segment.protection
        lacking = {
            ShardIndex(index) for index in range(protection.k) if self._bricks.doubtful(segment.bricks[index])
        } | {part.index}
        length = protection.shard_length(segment.length)
        both = await self._compute(segment, lacking, 0, length, problems)
        if both is None:
            return None
        for index, body in both.items():
            if index < protection.k:  # a stream wants the others too, and they are verified already
                self._computed.keep(segment.id, index, body)
        return _cut(both[part.index], part.offset, part.length)

    async def compute(
        self, segment: Segment, wanted: Collection[ShardIndex], offset: int, length: int, problems: list[str]
    ) -> dict[ShardIndex, Buffer] | None:
        """The same range of the wanted shards, from any k others; None if fewer can be read."""
        both = await self._compute(segment, wanted, offset, length, problems)
        return None if both is None else {index: both[index] for index in wanted}

    async def _compute(
        self, segment: Segment, wanted: Collection[ShardIndex], offset: int, length: int, problems: list[str]
    ) -> dict[ShardIndex, Buffer] | None:
        """Also what they were computed from."""
        computation = _Computation(segment, self._sources(segment, wanted, problems), wanted, offset, length)
        await self._calls.compute(computation.from_memory)
        if computation.found is None:
            await self._gather(computation, problems)
            if not computation.is_ready:
                return None
            if length <= _INLINE_BYTES_MAX:
                computation.decode()
            else:
                await self._calls.compute(computation.decode)
        self._counters.reconstructed += 1
        return computation.found

    def _sources(self, segment: Segment, without: Collection[ShardIndex], problems: list[str]) -> list[_Source]:
        """The shards that may be read: sound bricks first, data before parity."""
        sources = []
        for index, number in enumerate(segment.bricks):
            brick = self._bricks.find(number)
            if brick is None:
                problems.append(f"shard {index} is on brick {number}, which is not here")
            elif index not in without:
                sources.append(_Source(ShardIndex(index), brick))
        return sorted(sources, key=lambda source: self._bricks.doubtful(source.brick.id))

    async def _gather(self, computation: "_Computation", problems: list[str]) -> None:
        """Read as many shards as are needed, side by side, if so many can be read."""
        sources, available = computation.sources, computation.available
        need = computation.segment.protection.k
        waiting = iter([source for source in sources if source.index not in available])
        asking = need - len(available)
        async with trio.open_nursery() as nursery:

            async def ask_until_found() -> None:
                nonlocal asking
                for source in waiting:
                    part = ShardRange(source.index, computation.offset, computation.length)
                    piece = await self.try_shard(computation.segment, part, source.brick, problems)
                    if piece is not None:
                        available[source.index] = piece
                        break
                asking -= 1
                if computation.is_ready or not asking:
                    nursery.cancel_scope.cancel()

            async def ask_more_when_late() -> None:
                nonlocal asking
                await trio.sleep(self._hedging.bound_s)
                for _ in range(len(sources) - need):
                    asking += 1
                    nursery.start_soon(ask_until_found)

            for _ in range(asking):
                nursery.start_soon(ask_until_found)
            nursery.start_soon(ask_more_when_late)


async def _cancel_when_found(asked: ShardRead, race: trio.CancelScope) -> None:
    await asked.answered.wait()
    if asked.found is not None:
        race.cancel()


class _Computation:
    """One range of shards that is computed from others, partly in threads."""

    def __init__(
        self, segment: Segment, sources: Sequence[_Source], wanted: Collection[ShardIndex], offset: int, length: int
    ) -> None:
        self.segment = segment
        self.sources = sources
        self.offset = offset
        self.length = length
        self.available: dict[ShardIndex, Buffer] = {}
        self.found: dict[ShardIndex, Buffer] | None = None  # once it is computed: with what it was computed from
        self._wanted = sorted(wanted)

    @property
    def is_ready(self) -> bool:
        """Whether enough is available."""
        return len(self.available) >= self.segment.protection.k

    def from_memory(self) -> None:
        """In a thread: take what needs no disk; if that is enough, compute."""
        for source in self.sources[: self.segment.protection.k]:
            with suppress(*UNREADABLE):
                piece = source.brick.read(self.segment.id, source.index, self.offset, self.length, wait=False)
                if piece is not None:
                    self.available[source.index] = piece
        if self.is_ready:
            self.decode()

    def decode(self) -> None:
        """Compute, from what is available."""
        codec = Codec(self.segment.protection)
        self.found = self.available | codec.reconstruct(self.available, self._wanted, self.length)


def _cut(body: Buffer, offset: int, length: int) -> bytes:
    """A range of it, as bytes."""
    return bytes(memoryview(body)[offset : offset + length])


def lost(segment: Segment, problems: list[str]) -> SegmentLost:
    """What to raise when too few shards can be read."""
    return SegmentLost(
        f"segment {segment.id:016x}: fewer than the {segment.protection.k} shards needed can be read "
        f"({'; '.join(dict.fromkeys(problems))}); bring a missing brick back, or restore the files from a backup"
    )
