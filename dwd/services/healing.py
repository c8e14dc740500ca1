"""Bring every segment back to the protection that it is meant to have, the worst protected first.

Rules: damage that a read or the scrub met is mended at once (mending.py). Everything else is found by walking the
segments: first to count what is wrong, then once for each degree of urgency, so that memory does not grow with what is
to be done, and a brick that is lost meanwhile changes the order. What has no brick to go to waits for one. A segment
that cannot be read stops nothing; it is tried again, slowly.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Final, Literal

import attrs
import trio

from dwd.model.errors import BrickFault, NoSpace, SegmentLost
from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.namespace.converting import plan_upgrade
from dwd.placement.repair import Damaged, Reencoding, Repair, plan_repairs
from dwd.services.census import Census
from dwd.services.concurrently import for_each
from dwd.services.diagnosis import FALLBACK, Diagnosis, Diagnostician, candidates
from dwd.services.healing_tally import HealingStatus, Tally
from dwd.services.mending import Mender
from dwd.services.metadata import Metadata
from dwd.services.rebuild_batch import Rebuild
from dwd.services.rehousing import Rehousing
from dwd.services.repacker import Repacker
from dwd.services.segments import Segments

GRACE_S: Final = 600.0  # a brick that is merely away is expected back for so long
_CHUNK: Final = 256  # segments looked at before others get their turn
_AT_ONCE: Final = 4  # batches of segments rebuilt at a time
_PERIOD_S: Final = 600.0  # between two rounds when nothing is known to be wrong
_RETRY_S: Final = 10.0  # when something failed or waits
_LOOK_S: Final = 15.0  # for writes that went on without a brick
_CENSUS_S: Final = 540.0  # then a brick that is here all the time is listed again: seconds for a million shards
_SETTLE_S: Final = 0.5  # changes of bricks come in company
_UNREADABLE_MAX: Final = 10_000  # remembered, so that a round does not try them again
_UNREADABLE_S: Final = 600.0
_EXAMPLES: Final = 10  # of them, for people


class Healer:
    """Two tasks: damage at once, and rounds over all segments."""

    def __init__(
        self,
        metadata: Metadata,
        segments: Segments,
        rehousing: Rehousing,
        repacker: Repacker,
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        self._metadata = metadata
        self._segments = segments
        self._bricks = segments.brick_set
        self._rehousing = rehousing
        self._repacker = repacker
        self._pacer = rehousing.pacer
        self._diagnostician = Diagnostician(self._bricks, grace_s)
        self._censused: dict[BrickId, tuple[int, float]] = {}  # which appearance, and when
        self._unreadable: dict[SegmentId, float] = {}
        self._tally = Tally()
        self._active = False
        self._upgraded = 0
        self._resynced = 0
        self._rounds = 0
        self._woken = False
        self._judged: trio.Event | None = None  # set once the bricks are others than those of the last round
        self.mender = Mender(metadata, segments, rehousing)
        self.damaged = self.mender.damaged  # for Segments.on_damage

    async def run(self) -> None:
        """Mend and heal for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.mender.run)
            while True:
                changed, failures = self._bricks.changed, self._failures()
                await self.heal()
                if not self._tally.done:  # else look again: what was written or removed meanwhile is not counted right
                    await self._rest(changed, failures)
                await trio.sleep(_SETTLE_S)

    def _failures(self) -> int:
        """Rises when a write went on without a brick."""
        return self._segments.counters.shards_failed

    async def _rest(self, changed: trio.Event, failures: int) -> None:
        """Until the next round: bricks changed, shards were left out, a grace is over, or it is time."""
        seconds = _RETRY_S if self._tally.is_unfinished else _PERIOD_S
        end = trio.current_time() + min(seconds, max(0.0, self._diagnostician.next_grace_s()))
        while trio.current_time() < end and failures == self._failures() and not self._woken:
            with trio.move_on_after(min(_LOOK_S, end - trio.current_time())):
                await changed.wait()
                return

    def wake(self) -> None:
        """An operator changed something: look again soon."""
        self._woken = True

    async def heal(self) -> None:
        """One round. It ends early when the bricks change: then another order may be right."""
        changed = self._judged = self._bricks.changed
        self._active, self._woken = True, False
        try:
            await self._take_censuses()
            self._tally = tally = await self._count()
            self._rounds += 1
            for urgency in sorted(tally.by_urgency):
                await self._walk(urgency, changed)
            if not changed.is_set() and not tally.failed:
                self._diagnostician.censuses.clear()
        finally:
            self._active = False
            self._pacer.least_bytes_per_s = 0.0

    async def _take_censuses(self) -> None:
        """Of bricks that came, or came back: the difference to the records is all that is to be done for them.

        Of the others now and then: files may vanish, or a disk be exchanged for an older copy of it, under a
        superblock that stays right.
        """
        for number, brick in list(self._segments.bricks.items()):
            appearances = self._bricks.appearances(number)
            known, taken = self._censused.get(number, (None, 0.0))
            if known == appearances and trio.current_time() - taken < _CENSUS_S:
                continue
            census = Census(min((*self._segments.in_flight, self._metadata.new_segment_id())))
            try:
                await census.take(brick)
            except BrickFault:
                continue  # it changes, and another round follows
            self._resynced += len(census) if known not in {None, appearances} else 0
            self._diagnostician.censuses[number] = census
            self._censused[number] = appearances, trio.current_time()

    def _chunks(self) -> Iterator[list[Segment]]:
        """All segments that there are now; those that are written meanwhile are not met."""
        end = self._metadata.new_segment_id()
        found = self._metadata.state.segments(b"S")
        while chunk := list(islice(found, _CHUNK)):
            yield [segment for segment in chunk if segment.id < end]
            if chunk[-1].id >= end:
                return

    def _diagnoses(self, chunk: Iterable[Segment]) -> list[Diagnosis]:
        whereabouts = self._diagnostician.whereabouts()
        found = (self._diagnostician.diagnose(segment, whereabouts) for segment in chunk)
        return [diagnosis for diagnosis in found if diagnosis is not None]

    async def _count(self) -> Tally:
        tally = Tally(started=trio.current_time())
        for chunk in self._chunks():
            tally.segments += len(chunk)
            for diagnosis in self._diagnoses(chunk):
                tally.add(diagnosis)
            await trio.lowlevel.checkpoint()
        tally.degraded_since = self._tally.degraded_since if tally.degraded else None
        if tally.degraded and tally.degraded_since is None:
            tally.degraded_since = tally.started
        return tally

    async def _walk(self, urgency: int, changed: trio.Event) -> None:
        """Do what is as urgent as this, or more."""
        self._tally.no_brick = 0
        for chunk in self._chunks():
            if changed.is_set():
                return
            due = [d for d in self._diagnoses(chunk) if d.needs_work and d.urgency <= urgency and self._is_due(d)]
            if due:
                self._pace()
                await self._treat([d for d in due if d.urgency != FALLBACK])
                await self._strengthen([d for d in due if d.urgency == FALLBACK])
            await trio.lowlevel.checkpoint()

    def _is_due(self, diagnosis: Diagnosis) -> bool:
        tried = self._unreadable.get(diagnosis.segment.id)
        return tried is None or trio.current_time() - tried >= _UNREADABLE_S

    def _pace(self) -> None:
        """Say what the deadline demands."""
        since, deadline_s = self._tally.degraded_since, self._pacer.budget.deadline_s
        if deadline_s is not None and since is not None:
            left = max(1.0, since + deadline_s - trio.current_time())
            self._pacer.least_bytes_per_s = self._tally.bytes_to_move / left

    async def _treat(self, diagnoses: list[Diagnosis]) -> None:
        """Give shards that are bad a place."""
        damaged: list[Damaged] = []

        async def confirm(diagnosis: Diagnosis) -> None:
            confirmed = await self._confirm(diagnosis)
            if confirmed.margin < 0:
                self._note_unreadable(confirmed.segment.id)
            elif confirmed.bad:
                damaged.append(Damaged(confirmed.segment, confirmed.bad))

        await for_each(diagnoses, _AT_ONCE, confirm)
        damaged.sort(key=lambda one: one.segment.id)
        plan = plan_repairs(damaged, candidates(self._bricks, within_reserve=True), len(damaged))
        self._tally.no_brick += plan.waiting
        await for_each(self._rehousing.batches(plan.repairs), _AT_ONCE, self._repair)

    async def _confirm(self, diagnosis: Diagnosis) -> Diagnosis:
        """Look at what is only suspected."""
        verify = self._segments.verify_shard
        segment = diagnosis.segment
        missing = [i for i in sorted(diagnosis.suspects) if await verify(segment, i) is not None]
        return attrs.evolve(diagnosis, suspects=frozenset(missing))

    async def _repair(self, repairs: Sequence[Repair]) -> None:
        outcomes = await self._rehousing.perform_all([Rebuild(one.segment, dict(one.mend)) for one in repairs])
        for repair, outcome in zip(repairs, outcomes, strict=True):
            if isinstance(outcome, SegmentLost):
                self._tally.problem = str(outcome)
                self._note_unreadable(repair.segment.id)
            elif isinstance(outcome, NoSpace | BrickFault):
                self._note_failure(outcome)
            else:
                self._tally.note_done(repair)

    def _note_failure(self, failure: NoSpace | BrickFault) -> None:
        self._tally.failed += 1
        self._tally.problem = str(failure)

    def _note_unreadable(self, segment: SegmentId) -> None:
        self._tally.lost += 1
        if len(self._unreadable) >= _UNREADABLE_MAX:
            self._unreadable.clear()
        self._unreadable[segment] = trio.current_time()

    async def _strengthen(self, diagnoses: list[Diagnosis]) -> None:
        """Write anew what is at a fallback and need not be any more."""
        at_fallback = (Damaged(diagnosis.segment, frozenset()) for diagnosis in diagnoses)
        plan = plan_repairs(at_fallback, candidates(self._bricks, within_reserve=False), len(diagnoses))
        await for_each(plan.reencodings, 1, self._reencode)

    async def _reencode(self, reencoding: Reencoding) -> None:
        """A segment of many pieces goes in several."""
        number = reencoding.segment.id
        try:
            while (segment := self._metadata.state.find_segment(number)) is not None:
                plan = plan_upgrade(self._metadata.state, segment)
                await self._pacer.spend(2 * plan.bytes, plan.protection.width)
                if not plan.moves or not await self._repacker.perform(plan):
                    return
                self._pacer.excuse(2 * plan.bytes)
                self._upgraded += 1
                self._tally.done += 1
        except (NoSpace, BrickFault) as failure:
            self._note_failure(failure)

    def bad_shards(self) -> Mapping[SegmentId, Collection[ShardIndex]]:
        """Known to be damaged, on bricks that are here, and not mended yet."""
        return self.mender.waiting()

    def status(self) -> HealingStatus:
        """An immutable snapshot."""
        tally, done = self._tally, self._rehousing.status()
        mending = self.mender.status()
        is_outdated = self._rounds == 0 or self._judged is None or self._judged.is_set()
        is_healing = bool((self._active and tally.bytes_left) or mending.waiting or is_outdated)
        unfinished = bool(tally.degraded or tally.no_brick or tally.leaving or mending.stuck)
        idle: Literal["waiting", "whole"] = "waiting" if unfinished else "whole"
        return HealingStatus(
            state="healing" if is_healing else idle,
            surveyed=self._rounds > 0,
            segments=tally.segments,
            waiting_segments=tally.degraded + tally.leaving,
            by_margin=MappingProxyType({margin: count for margin, count in tally.by_margin.items() if count}),
            lost=tally.lost,
            fallback=tally.at_fallback,
            away=tally.away,
            no_brick=tally.no_brick,
            failed=tally.failed,
            bytes_left=tally.bytes_left,
            bytes_per_s=tally.bytes_per_s(trio.current_time()) if self._active else 0.0,
            shards_rebuilt=done.shards,
            bytes_rebuilt=done.bytes,
            resynced=self._resynced,
            upgraded=self._upgraded,
            mending=mending,
            unreadable=tuple(islice(self._unreadable, _EXAMPLES)),
            problem=mending.problem or tally.problem,
        )
