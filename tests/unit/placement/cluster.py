"""Bricks and segments for tests of planners."""

from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

from dwd.model.ids import NO_BRICK, BrickId, LogIndex, SegmentId
from dwd.model.limits import SEGMENT_BYTES_MAX
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.rendezvous import Candidate, Chooser

FOUR_TWO = Protection(4, 2)


def bricks(count: int, weight: float = 1.0, in_domain: int = 1) -> list[Candidate]:
    """Equal bricks, so many in each domain."""
    return [Candidate(BrickId(i), weight, str((i - 1) // in_domain)) for i in range(1, count + 1)]


def weighed(candidates: Iterable[Candidate], weights: dict[int, float]) -> list[Candidate]:
    """The same bricks with other weights."""
    return [attrs.evolve(one, weight=weights.get(one.brick, one.weight)) for one in candidates]


def segment(
    number: int,
    where: Sequence[int],
    protection: Protection = FOUR_TWO,
    length: int = SEGMENT_BYTES_MAX,
    wanted: Protection | None = None,
) -> Segment:
    """A full segment on these bricks."""
    placed = tuple(map(BrickId, where))
    return Segment(LogIndex(1), SegmentId(number), protection, length, length, placed, bytes(32), wanted)


def stored(count: int, candidates: Iterable[Candidate], protection: Protection = FOUR_TWO) -> list[Segment]:
    """Segments where the chooser puts them."""
    chooser = Chooser(candidates)
    return [segment(i, chooser.place(SegmentId(i), protection), protection) for i in range(1, count + 1)]


def most_in_a_domain(where: Iterable[BrickId], candidates: Iterable[Candidate]) -> int:
    """Shards that the worst loss of one domain takes."""
    domain = {candidate.brick: candidate.domain for candidate in candidates}
    return max(Counter(domain[brick] for brick in where if brick != NO_BRICK).values())


def shards_by_brick(segments: Iterable[Segment]) -> Counter[BrickId]:
    """How many each brick has."""
    return Counter(brick for one in segments for brick in one.bricks)
