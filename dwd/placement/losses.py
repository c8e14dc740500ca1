"""What would be if bricks were lost: which segments could not be read any more, and which would have nothing to spare.

Rules: a shard that was never placed, or is known to be damaged, counts as lost already. Segments that miss nothing
are not counted, whatever their mode: None has no margin on its best day.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final

import attrs

from dwd.model.ids import NO_BRICK, BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.placement.holdings import shard_bytes

_NOTHING_BAD: Final[Mapping[SegmentId, Collection[ShardIndex]]] = {}


class Fate(StrEnum):
    """What becomes of a segment that misses shards."""

    UNREADABLE = "unreadable"
    ZERO_MARGIN = "zero-margin"  # readable, and the next loss is its last
    DEGRADED = "degraded"  # readable, and some shards may still be lost


@attrs.frozen
class Tally:
    """How much has one fate."""

    segments: int = 0
    bytes: int = 0  # of files: what is live

    def plus(self, segment: Segment) -> "Tally":
        """With one more."""
        return Tally(self.segments + 1, self.bytes + segment.live)


@attrs.frozen
class Losses:
    """The answer."""

    fates: Mapping[SegmentId, Fate]  # of those that miss something
    tallies: Mapping[Fate, Tally]
    rebuild_bytes: int  # of shards, to have all that is readable at full width again

    def seconds_at(self, bytes_per_s: float) -> float:
        """How long that takes."""
        return self.rebuild_bytes / bytes_per_s


def missing_shards(
    segment: Segment, gone: Collection[BrickId], bad: Collection[ShardIndex] = ()
) -> frozenset[ShardIndex]:
    """The shards that a segment has not, when these bricks are gone and these shards are bad."""
    lost = (ShardIndex(i) for i, brick in enumerate(segment.bricks) if brick == NO_BRICK or brick in gone or i in bad)
    return frozenset(lost)


def margin(segment: Segment, missing: Collection[ShardIndex]) -> int:
    """How many more shards may be lost; below 0 the segment is lost."""
    return segment.protection.m - len(missing)


def what_if(
    segments: Iterable[Segment],
    lost: Collection[BrickId],
    bad: Mapping[SegmentId, Collection[ShardIndex]] = _NOTHING_BAD,
) -> Losses:
    """What would be without these bricks, on top of the shards that are bad already."""
    gone = frozenset(lost)
    fates: dict[SegmentId, Fate] = {}
    tallies = dict.fromkeys(Fate, Tally())
    rebuild = 0
    for segment in segments:
        missing = missing_shards(segment, gone, bad.get(segment.id, ()))
        if not missing:
            continue
        left = margin(segment, missing)
        fate = Fate.UNREADABLE if left < 0 else Fate.ZERO_MARGIN if left == 0 else Fate.DEGRADED
        fates[segment.id] = fate
        tallies[fate] = tallies[fate].plus(segment)
        rebuild += len(missing) * shard_bytes(segment) if left >= 0 else 0
    return Losses(fates, tallies, rebuild)
