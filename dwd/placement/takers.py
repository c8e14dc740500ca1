"""Find bricks for single shards of segments that have others already: what repair, drain and balance share.

Rules: a domain gets no more shards of a segment than the even spread gives it, or if that cannot be, no more than
may be lost. Of the bricks that may take a shard, one is taken to which the plan gave little so far, so what a lost
brick held is spread over all others. A search looks at a few bricks drawn by weight, and walks on from there if
none of those will do.
"""

import itertools
import struct
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import attrs
import xxhash

from dwd.model.ids import NO_BRICK, BrickId, SegmentId
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.holdings import shard_bytes
from dwd.placement.rendezvous import Candidate, Chooser

_KEY: Final = struct.Struct("<QQ")
_HASH_SPAN: Final = 2**64
_DRAWS: Final = 8  # of them the least loaded: two would do for a flat load, and some are ruled out
_ALL_MAX: Final = 32  # so few bricks are all looked at


@attrs.frozen
class _Wish:
    """A shard in search of a brick."""

    segment: SegmentId
    has: frozenset[BrickId]
    in_domain: Mapping[str, int]
    size: int


class Appetite(Protocol):
    """How much each brick should be given."""

    @property
    def weights(self) -> Mapping[BrickId, float]:
        """Those that take anything; the more, the likelier they are looked at."""

    def wants(self, brick: BrickId, size: int) -> bool:
        """Whether it takes so many bytes more."""

    def sated(self, brick: BrickId, size: int) -> float:
        """How near it is to having had its part: the least sated is given first."""

    def give(self, brick: BrickId, size: int) -> None:
        """It gets so many bytes."""


class ByWeight:
    """Everyone takes anything, as much as its weight says."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self.weights = {candidate.brick: candidate.weight for candidate in candidates if candidate.weight > 0}
        self._given: Counter[BrickId] = Counter()

    def wants(self, brick: BrickId, size: int) -> bool:
        """Always."""
        return size >= 0 and brick in self.weights

    def sated(self, brick: BrickId, size: int) -> float:
        """By what it would have then."""
        return (self._given[brick] + size) / self.weights[brick]

    def give(self, brick: BrickId, size: int) -> None:
        """Count."""
        self._given[brick] += size


class Takers:
    """The bricks that may take shards, and what a plan has given them."""

    def __init__(self, candidates: Iterable[Candidate], appetite: Appetite | None = None) -> None:
        known = list(candidates)
        self.chooser = Chooser(known)
        self._domain = {candidate.brick: candidate.domain for candidate in known}
        self._appetite = appetite or ByWeight(known)
        self._gather(0)
        self._ceilings: dict[Protection, Sequence[int]] = {}

    def takes(self, brick: BrickId) -> bool:
        """Whether a brick may be written at all."""
        return brick in self._appetite.weights

    def take(self, segment: Segment, has: Iterable[BrickId]) -> BrickId | None:
        """A brick for one more shard of a segment that has shards on `has` already, or None. It counts as given."""
        found = self.find(segment, has)
        if found is not None:
            self._appetite.give(found, shard_bytes(segment))
        return found

    def find(self, segment: Segment, has: Iterable[BrickId]) -> BrickId | None:
        """What take() would give."""
        there = frozenset(has) - {NO_BRICK}
        in_domain = Counter(self._domain.get(brick, f"unknown {brick}") for brick in there)
        wish = _Wish(segment.id, there, in_domain, shard_bytes(segment))
        for ceiling in self._ceilings_of(segment.protection):
            found = self._search(wish, ceiling)
            if found is not None:
                return found
        return None

    def _ceilings_of(self, protection: Protection) -> Sequence[int]:
        ceilings = self._ceilings.get(protection)
        if ceilings is None:
            limit = self.chooser.limit(protection.m)
            ceilings = self._ceilings[protection] = sorted({min(limit, self.chooser.spread(protection.width)), limit})
        return ceilings

    def _search(self, wish: _Wish, ceiling: int) -> BrickId | None:
        if sum(count >= ceiling for count in wish.in_domain.values()) >= self.chooser.domains:
            return None
        if len(self._bricks) <= _ALL_MAX:
            return self._best(self._bricks, wish, ceiling)
        places = [self._draw(wish, turn) for turn in range(_DRAWS)]
        found = self._best([self._bricks[place] for place in places], wish, ceiling)
        return found if found is not None else self._walk(places[0], wish, ceiling)

    def _walk(self, start: int, wish: _Wish, ceiling: int) -> BrickId | None:
        """The next brick that will do. When as many as there are were passed over, those that want no more go."""
        found = None
        for step in range(len(self._bricks)):
            brick = self._bricks[start - step]
            if self._may_take(brick, wish, ceiling):
                found = brick
                break
            self._passed_over += 1
        if self._passed_over >= len(self._bricks):
            self._gather(wish.size)
        return found

    def _draw(self, wish: _Wish, turn: int) -> int:
        drawn = xxhash.xxh3_64_intdigest(_KEY.pack(wish.segment, turn)) / _HASH_SPAN
        at = bisect(self._sums, drawn * self._sums[-1])
        return min(at, len(self._bricks) - 1)

    def _best(self, bricks: Iterable[BrickId], wish: _Wish, ceiling: int) -> BrickId | None:
        return min(
            (brick for brick in bricks if self._may_take(brick, wish, ceiling)),
            key=lambda brick: (self._appetite.sated(brick, wish.size), _tie(wish.segment, brick)),
            default=None,
        )

    def _may_take(self, brick: BrickId, wish: _Wish, ceiling: int) -> bool:
        return (
            brick not in wish.has
            and wish.in_domain.get(self._domain[brick], 0) < ceiling
            and self._appetite.wants(brick, wish.size)
        )

    def _gather(self, size: int) -> None:
        """List the bricks, for drawing, that want so much more."""
        weights = self._appetite.weights
        self._bricks = [brick for brick in weights if self._appetite.wants(brick, size)]
        self._passed_over = 0
        self._sums = list(itertools.accumulate(weights[brick] for brick in self._bricks))


def _tie(segment: SegmentId, brick: BrickId) -> int:
    return xxhash.xxh3_64_intdigest(_KEY.pack(segment, brick))
