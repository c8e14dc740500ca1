"""What to mend first, and where to put it: a plan of repairs, the worst protected segments first.

Rules: order is by the shards that may still be lost; segments that are whole but at a fallback mode come last. A
plan is bounded: what does not fit waits for the next one. A damaged shard on a sound brick is rewritten in place;
a lost one goes where the domain rule allows, so that what a lost brick held is spread over all others.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TypeVar

import attrs

from dwd.model.ids import BrickId, ShardIndex
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.holdings import shard_bytes
from dwd.placement.losses import margin
from dwd.placement.rendezvous import Candidate, Chooser
from dwd.placement.takers import Takers

_Queued = TypeVar("_Queued")


@attrs.frozen
class Damaged:
    """A segment that is not as it is meant to be."""

    segment: Segment
    bad: frozenset[ShardIndex]  # lost, damaged or never placed; none: it is only at a fallback mode


@attrs.define(frozen=True, slots=False)
class Repair:
    """Shards to be computed from others, and written."""

    segment: Segment
    mend: tuple[tuple[ShardIndex, BrickId], ...]  # shard, and the brick that it is to be on
    margin: int  # shards that may still be lost before it is done

    @cached_property
    def new(self) -> tuple[BrickId, ...]:
        """The segment's bricks when it is done."""
        bricks = list(self.segment.bricks)
        for index, brick in self.mend:
            bricks[index] = brick
        return tuple(bricks)

    @property
    def bytes(self) -> int:
        """To be written."""
        return len(self.mend) * shard_bytes(self.segment)


@attrs.frozen
class Reencoding:
    """A segment at a fallback mode, to be stored anew at a stronger one."""

    segment: Segment
    protection: Protection


@attrs.frozen
class RepairPlan:
    """What to do, in this order: repairs, then re-encodings."""

    repairs: tuple[Repair, ...] = ()
    reencodings: tuple[Reencoding, ...] = ()
    lost: int = 0  # segments of which fewer than k shards are left
    waiting: int = 0  # shards for which there is no brick
    left_out: int = 0  # segments beyond the bound


@attrs.define
class _Queues:
    """Segments by urgency; each queue no longer than a plan."""

    bound: int
    by_margin: dict[int, list[Damaged]] = attrs.Factory(dict)
    fallback: list[Reencoding] = attrs.Factory(list)
    lost: int = 0
    waiting: int = 0
    total: int = 0

    def put(self, damaged: Damaged, takers: Takers) -> None:
        """Sort one in. What cannot be helped now takes nobody's place in the plan."""
        if not damaged.bad:
            self._put_fallback(damaged.segment, takers.chooser)
            return
        left = margin(damaged.segment, damaged.bad)
        if left < 0:
            self.lost += 1
        elif not _mendable(damaged, takers):
            self.waiting += len(damaged.bad)
        else:
            self.total += 1
            _append(self.by_margin.setdefault(left, []), damaged, self.bound)

    def _put_fallback(self, segment: Segment, chooser: Chooser) -> None:
        stronger = _stronger(segment, chooser)
        if stronger is not None:
            self.total += 1
            _append(self.fallback, Reencoding(segment, stronger), self.bound)

    def worst(self) -> Sequence[Damaged]:
        """The most urgent ones, as many as a plan holds."""
        ordered = (damaged for left in sorted(self.by_margin) for damaged in self.by_margin[left])
        return list(itertools.islice(ordered, self.bound))


def plan_repairs(damaged: Iterable[Damaged], candidates: Iterable[Candidate], bound: int) -> RepairPlan:
    """Repairs of at most `bound` segments. A candidate of weight 0 takes nothing, but its domain is known."""
    takers = Takers(candidates)
    queues = _Queues(bound)
    for one in damaged:
        queues.put(one, takers)
    worst = queues.worst()
    repairs = tuple(_repair(one, takers) for one in worst)
    reencodings = tuple(queues.fallback[: bound - len(worst)])
    waiting = sum(len(one.bad) - len(repair.mend) for one, repair in zip(worst, repairs, strict=True))
    left_out = queues.total - len(repairs) - len(reencodings)
    return RepairPlan(repairs, reencodings, queues.lost, queues.waiting + waiting, left_out)


def _append(queue: list[_Queued], entry: _Queued, bound: int) -> None:
    if len(queue) < bound:
        queue.append(entry)


def _mendable(damaged: Damaged, takers: Takers) -> bool:
    bricks = damaged.segment.bricks
    if any(takers.takes(bricks[index]) for index in damaged.bad):
        return True
    return takers.find(damaged.segment, _sound(damaged)) is not None


def _sound(damaged: Damaged) -> set[BrickId]:
    return {brick for index, brick in enumerate(damaged.segment.bricks) if index not in damaged.bad}


def _repair(damaged: Damaged, takers: Takers) -> Repair:
    segment = damaged.segment
    has = _sound(damaged) | set(filter(takers.takes, segment.bricks))
    mend = []
    for index in sorted(damaged.bad):
        brick: BrickId | None = segment.bricks[index]
        if brick is None or not takers.takes(brick):
            brick = takers.take(segment, has)
        if brick is not None:
            has.add(brick)
            mend.append((index, brick))
    return Repair(segment, tuple(mend), margin(segment, damaged.bad))


def _stronger(segment: Segment, chooser: Chooser) -> Protection | None:
    """What the bricks allow of a segment's wanted mode, if that is more than it has."""
    if segment.wanted is None or not chooser.bricks:
        return None
    best, has = chooser.fitting(segment.wanted), segment.protection
    return best if (best.m, best.k) > (has.m, has.k) else None
