"""Make shards of a segment in one thread: read whole ones, compute those that lack, and the page that each begins with.

Rules: nothing is made of bytes that were not verified. What goes on as it should goes fast here; anything unusual
(a shard that cannot be read, a brick that keeps us waiting) ends it, and who asked goes the long way.
"""

import mmap
from collections.abc import Iterator, Sequence
from itertools import count
from time import perf_counter

import attrs

from dwd.codec.blocks import block_checksums
from dwd.codec.shard_header import ShardHeader, encode_shard_header
from dwd.ec.isal import Buffer
from dwd.ec.reed_solomon import Codec
from dwd.ec.segment_image import ShardImage
from dwd.model.errors import BrickFault, CorruptShard, FormatTooNew
from dwd.model.ids import BrickId, ShardIndex, VolumeId
from dwd.model.segment import Segment
from dwd.model.units import round_up
from dwd.ports import Brick


@attrs.frozen
class Source:
    """A shard that may be read, on the brick that has it."""

    index: ShardIndex
    brick: Brick


def shard_image(volume: VolumeId, segment: Segment, index: ShardIndex, body: Buffer) -> ShardImage:
    """What the file of a shard holds."""
    header = ShardHeader(
        volume=volume,
        segment=segment.id,
        index=index,
        protection=segment.protection,
        segment_length=segment.length,
        digest=segment.digest,
        checksums=block_checksums(memoryview(body)),
    )
    return encode_shard_header(header), memoryview(body)


class ShardMaking:
    """One segment's shards: some are copied, others computed from k sources."""

    def __init__(
        self,
        volume: VolumeId,
        segment: Segment,
        copied: Sequence[Source],
        computed: Sequence[ShardIndex],
        sources: Sequence[Source],
    ) -> None:
        self._volume = volume
        self._segment = segment
        self._copied = copied
        self._computed = computed
        self._sources = sources
        self._length = segment.protection.shard_length(segment.length)
        self._seconds: list[tuple[BrickId, float]] = []
        self._asked: tuple[BrickId, float] | None = None  # and since when
        self._given_up = False

    @property
    def computes(self) -> bool:
        """Whether it takes the codec."""
        return bool(self._computed)

    @property
    def scratch_bytes(self) -> int:
        """How much memory it works in."""
        return self._stride * (len(self._copied) + len(self._sources) + len(self._computed))

    @property
    def _stride(self) -> int:
        """From one body to the next: each begins at a page."""
        return round_up(self._length, mmap.PAGESIZE)

    def perform(self, scratch: memoryview) -> dict[ShardIndex, ShardImage] | None:
        """In the thread; None: something is unusual. What it gives lies in `scratch`."""
        free = (scratch[at : at + self._length] for at in count(0, self._stride))
        try:
            bodies = {source.index: self._read(source, next(free)) for source in self._copied}
            if self._computed:
                available = {one.index: bodies.get(one.index) or self._read(one, next(free)) for one in self._sources}
                computed = {index: next(free) for index in self._computed}
                Codec(self._segment.protection).reconstruct_into(computed, available, self._length)
                bodies |= computed
        except (CorruptShard, BrickFault, FormatTooNew):
            return None  # who asked meets it again, and reports it
        return {index: shard_image(self._volume, self._segment, index, body) for index, body in bodies.items()}

    def _read(self, source: Source, body: memoryview) -> memoryview:
        if self._given_up:
            raise BrickFault("nobody waits for it any more")
        began = perf_counter()
        self._asked = (source.brick.id, began)
        source.brick.read_into(self._segment.id, source.index, body)
        self._asked = None
        self._seconds.append((source.brick.id, perf_counter() - began))
        return body

    def give_up(self) -> None:
        """Nobody waits any more: a thread that is still in it asks no further brick."""
        self._given_up = True

    def answers(self) -> Iterator[tuple[BrickId, float]]:
        """The seconds that each brick took, or has kept us waiting for until now."""
        yield from self._seconds
        asked = self._asked
        if asked is not None:
            number, since = asked
            yield number, perf_counter() - since
