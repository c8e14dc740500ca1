"""Move shards so that bricks hold what their weights say, or so that a brick holds nothing.

Rules: no byte is moved that need not be: only what a brick has above its fair share leaves it, and only bricks
below theirs take it. No move brings a segment's shards closer together than the domain rule allows. A plan is
bounded: perform it, count again, and plan again until there is nothing to move.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.holdings import Holdings, shard_bytes
from dwd.placement.rendezvous import Candidate, Chooser
from dwd.placement.shares import fair_shares
from dwd.placement.takers import Takers

_EXAMPLES_MAX = 16  # segments named in a refusal


@attrs.frozen
class Move:
    """Shards of one segment that are to be on other bricks."""

    segment: Segment
    new: tuple[BrickId, ...]  # all its bricks, once that is done

    @property
    def shards(self) -> list[tuple[ShardIndex, BrickId, BrickId]]:
        """Which, from where, to where."""
        pairs = enumerate(zip(self.segment.bricks, self.new, strict=True))
        return [(ShardIndex(i), old, new) for i, (old, new) in pairs if old != new]

    @property
    def bytes(self) -> int:
        """To be copied."""
        return len(self.shards) * shard_bytes(self.segment)


@attrs.frozen
class MovePlan:
    """What to move now."""

    moves: tuple[Move, ...]
    bytes: int  # that these moves copy
    least: int  # that any plan must move to reach the goal
    left: int  # bytes that stay to be moved: the plan was full, or nobody may take them


@attrs.frozen
class Shortfall:
    """Why bricks cannot be emptied: what would fall below its protection."""

    segments: int
    bytes: int  # of files
    examples: tuple[SegmentId, ...]
    reason: str


def plan_balance(segments: Iterable[Segment], held: Holdings, candidates: Iterable[Candidate], bound: int) -> MovePlan:
    """Moves of at most `bound` segments from bricks above their fair share to bricks below it.

    Candidates of weight 0 neither give nor take here.
    """
    known = list(candidates)
    ledger = _Ledger(held, _fair_bytes(known, held))
    takers = Takers(known, ledger)
    moves: list[Move] = []
    moved = 0
    for segment in segments:
        if len(moves) >= bound:
            break
        move = _relieve(segment, ledger, takers)
        ledger.pass_by(segment)
        if move is not None:
            moves.append(move)
            moved += move.bytes
    return MovePlan(tuple(moves), moved, ledger.least, ledger.least - moved)


def plan_drain(
    segments: Iterable[Segment], leaving: Collection[BrickId], candidates: Iterable[Candidate], bound: int
) -> MovePlan:
    """Moves of at most `bound` segments off the bricks that are leaving."""
    takers = Takers(_without(leaving, candidates))
    moves: list[Move] = []
    moved = least = 0
    for segment in segments:
        from_there = [i for i, brick in enumerate(segment.bricks) if brick in leaving]
        least += len(from_there) * shard_bytes(segment)
        if not from_there or len(moves) >= bound:
            continue
        move = Move(segment, _with_moved(segment, from_there, takers))
        if move.shards:
            moves.append(move)
            moved += move.bytes
    return MovePlan(tuple(moves), moved, least, least - moved)


def drain_shortfall(
    segments: Iterable[Segment], leaving: Collection[BrickId], candidates: Iterable[Candidate]
) -> Shortfall | None:
    """What would fall below its protection without these bricks; None: they can be emptied."""
    chooser = Chooser(_without(leaving, candidates))
    holds: dict[Protection, bool] = {}
    short: Counter[Protection] = Counter()
    examples: list[SegmentId] = []
    count = live = 0
    for segment in segments:
        if segment.protection not in holds:
            holds[segment.protection] = chooser.holds(segment.protection)
        if holds[segment.protection] or _has_none_on(segment, leaving):
            continue
        count, live = count + 1, live + segment.live
        short[segment.protection] += 1
        if len(examples) < _EXAMPLES_MAX:
            examples.append(segment.id)
    if not count:
        return None
    named = ", ".join(f"{number} at {protection.name}" for protection, number in short.items())
    reason = (
        f"{chooser.bricks} bricks in {chooser.domains} failure domains would be left, too few for {count} segments "
        f"({named}) with {live} bytes of files: add bricks first, or choose a protection that fits"
    )
    return Shortfall(count, live, tuple(examples), reason)


def _has_none_on(segment: Segment, leaving: Collection[BrickId]) -> bool:
    """Whether a segment has nothing on these bricks."""
    return not any(brick in leaving for brick in segment.bricks)


def _without(leaving: Collection[BrickId], candidates: Iterable[Candidate]) -> list[Candidate]:
    return [attrs.evolve(one, weight=0.0) if one.brick in leaving else one for one in candidates]


def _with_moved(segment: Segment, indices: Iterable[int], takers: Takers) -> tuple[BrickId, ...]:
    """The segment's bricks with these shards elsewhere, where there is one that may take them."""
    bricks = list(segment.bricks)
    for index in indices:
        others = [brick for i, brick in enumerate(bricks) if i != index]
        bricks[index] = takers.take(segment, others) or bricks[index]
    return tuple(bricks)


class _Ledger:
    """What bricks have above their fair share (below 0: what they lack), and how many chances to change it are left.

    A pass over the segments meets each shard once: who has few chances left for much to give or take goes first,
    or it would be left with segments that are of no use to it.
    """

    def __init__(self, held: Holdings, fair: Mapping[BrickId, float]) -> None:
        self._excess = {brick: held.by_brick.get(brick, 0) - share for brick, share in fair.items()}
        self._ahead = Counter(held.by_brick)
        self._one_ahead = held.of_one
        self.weights = {brick: -excess for brick, excess in self._excess.items() if excess < 0}
        self.least = int(sum(excess for excess in self._excess.values() if excess > 0))

    def wants(self, brick: BrickId, size: int) -> bool:
        """Whether it lacks as much."""
        return self._excess[brick] <= -size

    def sated(self, brick: BrickId, size: int) -> float:
        """By what it lacks of the segments that lie ahead and that it has no shard of."""
        return self._excess[brick] / max(size, self._one_ahead - self._ahead[brick])

    def give(self, brick: BrickId, size: int) -> None:
        """It has so much more."""
        self._excess[brick] += size

    def heavy(self, segment: Segment) -> list[int]:
        """The shards that should leave their bricks, the most urgent first."""
        size = shard_bytes(segment)
        found = [i for i, brick in enumerate(segment.bricks) if self._excess.get(brick, 0) >= size]
        found.sort(key=lambda i: -self._excess[segment.bricks[i]] / max(size, self._ahead[segment.bricks[i]]))
        return found

    def pass_by(self, segment: Segment) -> None:
        """It lies behind."""
        size = shard_bytes(segment)
        self._one_ahead -= size
        for brick in segment.bricks:
            self._ahead[brick] -= size


def _relieve(segment: Segment, ledger: _Ledger, takers: Takers) -> Move | None:
    """Move what bricks above their share have of a segment, to such as are below."""
    heavy = ledger.heavy(segment)
    move = Move(segment, _with_moved(segment, heavy, takers)) if heavy else None
    if move is None or not move.shards:
        return None
    for _, source, _ in move.shards:
        ledger.give(source, -shard_bytes(segment))
    return move


def _fair_bytes(candidates: Sequence[Candidate], held: Holdings) -> dict[BrickId, float]:
    """What each brick would hold if all were as the weights say, within the even spread over domains.

    A brick has at most one shard of a segment, and a domain as many as the even spread gives it: nobody can hold more,
    however heavy.
    """
    inside: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.weight > 0:
            inside.setdefault(candidate.domain, []).append(candidate)
    sizes = [len(bricks) for bricks in inside.values()]
    total = sum(held.by_brick.get(candidate.brick, 0) for bricks in inside.values() for candidate in bricks)
    level = 1
    while level < max(sizes, default=0) and sum(min(size, level) for size in sizes) * held.of_one < total:
        level += 1
    weights = [sum(candidate.weight for candidate in bricks) for bricks in inside.values()]
    least = [float(min(size, level - 1) * held.of_one) for size in sizes]
    most = [float(min(size, level) * held.of_one) for size in sizes]
    fair: dict[BrickId, float] = {}
    for bricks, share in zip(inside.values(), fair_shares(weights, total, least, most), strict=True):
        none, one = [0.0] * len(bricks), [float(held.of_one)] * len(bricks)
        shares = fair_shares([candidate.weight for candidate in bricks], share, none, one)
        fair |= {candidate.brick: share for candidate, share in zip(bricks, shares, strict=True)}
    return fair
