"""Move sound shards: off bricks that are drained, and from bricks above their fair share to those below it.

Rules: a walk over the segments, some at a time, each planned over what the bricks hold by then; so memory does not grow
with what is to be moved, and a standing or weight that changes is heeded at the next step. Nothing is remembered over
a restart: the records say what is still to be done. Shards of bricks that are lost or ejected are the healer's.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Final

import attrs
import trio

from dwd.model.ids import BrickId
from dwd.model.segment import Segment
from dwd.model.topology import Standing
from dwd.placement.balance import Move, plan_balance, plan_drain
from dwd.placement.holdings import Holdings, holdings, shard_bytes
from dwd.services.concurrently import for_each
from dwd.services.diagnosis import candidates
from dwd.services.metadata import Metadata
from dwd.services.rebuild_batch import Rebuild
from dwd.services.rehousing import Rehousing
from dwd.services.segments import Segments

_CHUNK: Final = 256  # segments looked at before others get their turn
_AT_ONCE: Final = 2  # batches of segments moved at a time: nothing is in danger
_RETRY_S: Final = 60.0  # after a brick failed or was full
_PERIOD_S: Final = 600.0
_BALANCE_WALKS_MAX: Final = 3  # what they leave is not worth another


@attrs.frozen
class MovingStatus:
    """What is under way, and what was done since the start."""

    draining: Mapping[BrickId, int]  # bytes left on each brick that is emptied
    balance_left: int  # bytes; 0: balanced, as far as it can be, or none is under way
    bytes_moved: int
    problem: str  # what failed last


class Mover:
    """One task: drains first, then a balance if somebody asked for one."""

    def __init__(self, metadata: Metadata, segments: Segments, rehousing: Rehousing) -> None:
        self._metadata = metadata
        self._segments = segments
        self._bricks = segments.brick_set
        self._rehousing = rehousing
        self._draining: Counter[BrickId] = Counter()
        self._balance_wanted = False
        self._balance_left = 0
        self._moved = 0
        self._failed = False
        self._problem = ""
        self._woken = trio.Event()

    def wake(self) -> None:
        """A standing or a weight changed: look again now."""
        self._woken.set()

    def balance(self) -> None:
        """Begin to balance. A balance under way begins anew, with the weights of now."""
        self._balance_wanted = True
        self.wake()

    def status(self) -> MovingStatus:
        """An immutable snapshot."""
        draining = MappingProxyType(dict(self._draining))
        return MovingStatus(draining, self._balance_left, self._moved, self._problem)

    async def run(self) -> None:
        """Move for ever."""
        while True:
            self._woken = trio.Event()
            self._failed = False
            await self.drain()
            while self._balance_wanted:
                self._balance_wanted = False
                await self.rebalance()
            with trio.move_on_after(_RETRY_S if self._failed else _PERIOD_S):
                await self._woken.wait()

    def _chunks(self) -> Iterator[list[Segment]]:
        found = self._metadata.state.segments(b"S")
        while chunk := list(islice(found, _CHUNK)):
            yield chunk

    def _leaving(self) -> Collection[BrickId]:
        """Bricks that are to be emptied, and can be read."""
        here = self._segments.bricks
        return frozenset(n for n, r in self._bricks.records().items() if r.standing is Standing.DRAINING and n in here)

    async def drain(self) -> None:
        """Empty the bricks that are draining, as far as there is room elsewhere."""
        leaving = self._leaving()
        self._draining = await self._held_by(leaving)
        for chunk in self._chunks():
            leaving = self._leaving()
            for brick in self._draining.keys() - leaving:
                del self._draining[brick]
            if not leaving:
                return
            takers = candidates(self._bricks, within_reserve=True)
            moves = plan_drain(chunk, leaving, takers, len(chunk)).moves
            await for_each(self._rehousing.batches(moves), _AT_ONCE, self._drain_some)
            await trio.lowlevel.checkpoint()

    async def _held_by(self, leaving: Collection[BrickId]) -> Counter[BrickId]:
        held: Counter[BrickId] = Counter(dict.fromkeys(leaving, 0))
        if leaving:
            counted = await self._count()
            held.update({brick: counted.by_brick.get(brick, 0) for brick in leaving})
        return held

    async def _drain_some(self, moves: Sequence[Move]) -> None:
        for move in await self._perform(moves):
            for _, source, _ in move.shards:
                if source in self._draining:
                    self._draining[source] = max(0, self._draining[source] - shard_bytes(move.segment))

    async def rebalance(self) -> None:
        """Walk until nothing is to be moved that can be."""
        for _ in range(_BALANCE_WALKS_MAX):
            if not await self._balance_once() or self._balance_wanted:
                break
        self._balance_left = 0

    async def _balance_once(self) -> int:
        """Bytes that were moved."""
        counted = await self._count()
        held, before = Counter(counted.by_brick), self._moved

        async def move_some(moves: Sequence[Move]) -> None:
            for move in await self._perform(moves):
                for _, source, target in move.shards:
                    held[source] -= shard_bytes(move.segment)
                    held[target] += shard_bytes(move.segment)

        for chunk in self._chunks():
            takers = candidates(self._bricks, within_reserve=False)
            plan = plan_balance(chunk, Holdings(held, counted.of_one), takers, len(chunk))
            self._balance_left = plan.least
            if not plan.least or self._balance_wanted:
                break
            await for_each(self._rehousing.batches(plan.moves), _AT_ONCE, move_some)
            await trio.lowlevel.checkpoint()
        return self._moved - before

    async def _count(self) -> Holdings:
        held: Counter[BrickId] = Counter()
        of_one = 0
        for chunk in self._chunks():
            counted = holdings(chunk)
            held.update(counted.by_brick)
            of_one += counted.of_one
            await trio.lowlevel.checkpoint()
        return Holdings(held, of_one)

    async def _perform(self, moves: Sequence[Move]) -> list[Move]:
        """Those that were done."""
        planned = [Rebuild(move.segment, {index: target for index, _, target in move.shards}) for move in moves]
        done: list[Move] = []
        for move, outcome in zip(moves, await self._rehousing.perform_all(planned), strict=True):
            if outcome is True:
                self._moved += move.bytes
                done.append(move)
            elif outcome is not False:
                self._failed = True
                self._problem = str(outcome)
        return done
