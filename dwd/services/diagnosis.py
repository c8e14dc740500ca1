"""What is wrong with a segment, from where its shards are said to be and how those bricks are.

Rules: a brick that is merely away is expected back for a grace: its shards count as missing for the urgency of others,
but are not built anew. What a census misses on a brick that is here is a suspicion, to be looked at before anything
is done: the census is of a moment.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

import attrs
import trio

from dwd.model.ids import NO_BRICK, BrickId, ShardIndex
from dwd.model.segment import Segment
from dwd.model.topology import Standing
from dwd.namespace.records import BrickRecord
from dwd.placement.rendezvous import Candidate
from dwd.services.bricks import Bricks
from dwd.services.census import Census

LEAVING: Final = 1_000  # urgency of what is whole but on an ejected brick: after all that is not whole
FALLBACK: Final = 2_000  # and of what is whole but at a weaker mode


class Whereabouts(Enum):
    """What being on a brick means for a shard."""

    HERE = "here"
    AWAY = "away"  # expected back
    GONE = "gone"  # for good, or for too long
    LEAVING = "leaving"  # here, on a brick that is given up


@attrs.frozen
class Diagnosis:
    """A segment that is not as it is meant to be."""

    segment: Segment
    gone: frozenset[ShardIndex] = frozenset()
    away: frozenset[ShardIndex] = frozenset()
    suspects: frozenset[ShardIndex] = frozenset()  # on a brick that is here, and probably not there
    leaving: frozenset[ShardIndex] = frozenset()

    @property
    def margin(self) -> int:
        """Shards that may still be lost; below 0: it cannot be read."""
        return self.segment.protection.m - len(self.gone) - len(self.away) - len(self.suspects)

    @property
    def is_lost(self) -> bool:
        """Whether it cannot be read now, for all that is known."""
        return self.margin < 0 and not self.suspects

    @property
    def urgency(self) -> int:
        """The less, the sooner."""
        if self.gone or self.suspects:
            return max(0, self.margin)
        return LEAVING if self.leaving else FALLBACK

    @property
    def is_degraded(self) -> bool:
        """Whether it has fewer shards than it is to have."""
        return bool(self.gone or self.away or self.suspects)

    @property
    def needs_work(self) -> bool:
        """Whether healing has anything to do for it, once there is a brick for it."""
        at_fallback = self.segment.wanted is not None and not self.away
        return not self.is_lost and bool(self.gone or self.suspects or self.leaving or at_fallback)

    @property
    def bad(self) -> frozenset[ShardIndex]:
        """What is to get a place: sound shards only as far as the others are enough to read it without them."""
        worse = self.gone | self.suspects
        spare = max(0, self.segment.protection.m - len(worse) - len(self.away))
        return worse | frozenset(sorted(self.leaving)[:spare])


class Diagnostician:
    """Judges segments by the bricks as they are now."""

    def __init__(self, bricks: Bricks, grace_s: float) -> None:
        self._bricks = bricks
        self._grace_s = grace_s
        self.censuses: dict[BrickId, Census] = {}  # of bricks that are to be compared with the records

    def whereabouts(self) -> Mapping[BrickId, Whereabouts]:
        """Of all bricks that are known; any other is gone."""
        now = trio.current_time()
        return {number: self._where(number, record, now) for number, record in self._bricks.records().items()}

    def _where(self, number: BrickId, record: BrickRecord, now: float) -> Whereabouts:
        if self._bricks.find(number) is not None:
            return Whereabouts.LEAVING if record.standing is Standing.EJECTED else Whereabouts.HERE
        expected = record.standing is Standing.ACTIVE and now - self._bricks.condition(number).since < self._grace_s
        return Whereabouts.AWAY if expected else Whereabouts.GONE

    def next_grace_s(self) -> float:
        """Seconds until the next brick that is away is given up; infinite if there is none."""
        now = trio.current_time()
        ends = [
            self._bricks.condition(number).since + self._grace_s - now
            for number, where in self.whereabouts().items()
            if where is Whereabouts.AWAY
        ]
        return min(ends, default=float("inf"))

    def diagnose(self, segment: Segment, whereabouts: Mapping[BrickId, Whereabouts]) -> Diagnosis | None:
        """What is wrong with it; None: nothing."""
        found: dict[Whereabouts, list[ShardIndex]] = {where: [] for where in Whereabouts}
        suspects: list[ShardIndex] = []
        for position, brick in enumerate(segment.bricks):
            index = ShardIndex(position)
            where = whereabouts.get(brick, Whereabouts.GONE)
            census = self.censuses.get(brick)
            is_here = where in {Whereabouts.HERE, Whereabouts.LEAVING}
            if is_here and census is not None and segment.id < census.before and (segment.id, index) not in census:
                suspects.append(index)
            else:
                found[where].append(index)
        if len(found[Whereabouts.HERE]) == len(segment.bricks) and segment.wanted is None:
            return None
        return Diagnosis(
            segment,
            gone=frozenset(found[Whereabouts.GONE]),
            away=frozenset(found[Whereabouts.AWAY]),
            suspects=frozenset(suspects),
            leaving=frozenset(found[Whereabouts.LEAVING]),
        )


def candidates(bricks: Bricks, *, within_reserve: bool) -> list[Candidate]:
    """Every brick that is known, for the planners: those that take nothing new have the weight 0."""
    weights = {candidate.brick: candidate.weight for candidate in bricks.writable(within_reserve=within_reserve)}
    return [
        Candidate(number, weights.get(number, 0.0), bricks.domain(number))
        for number in bricks.records()
        if number != NO_BRICK
    ]
