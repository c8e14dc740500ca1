"""Read every shard of every segment within so many days, so that damage is found while it can be mended.

Rules: the pace follows from the bytes and the time that are left, so nothing is held up; what is found is handed to
the healer and not mended here. How far it is survives a restart. Metadata is fsck's.
"""

from collections.abc import Callable
from typing import Final

import attrs
import trio

from dwd.model.ids import SegmentId
from dwd.model.segment import Segment
from dwd.model.units import NS_PER_S
from dwd.namespace import keys, records
from dwd.namespace.commands import NoteScrub
from dwd.namespace.records import ScrubRecord
from dwd.ports import WallClock
from dwd.services.metadata import Metadata
from dwd.services.pacing import Pacer
from dwd.services.refitting import Refitter
from dwd.services.segments import Segments
from dwd.wire.admin import Progress

DAY_S: Final = 86_400.0
_BEGINNING: Final = SegmentId(0)
_AIM: Final = 0.9  # of the period: a pass is to be done by then, and the next begins
_NOTE_S: Final = 60.0
_NOTE_SEGMENTS: Final = 1000
_CHUNK: Final = 64  # rows
_PAUSE_S: Final = 3600.0  # at most between two segments, and two counts of what is left
_SHOW_S: Final = 0.5
_HURRIED_AT_ONCE: Final = 4  # segments read at a time by a pass that somebody asked for


@attrs.frozen
class ScrubStatus:
    """The pass under way, or the last one."""

    running: bool
    hurried: bool  # somebody asked for it: it takes the whole budget
    started: int  # ns since 1970; 0: never
    finished: int  # ns since 1970; 0: not yet
    segments: int
    bytes: int
    damaged: int  # shards
    bytes_left: int
    deadline: int  # ns since 1970: every byte is to be read by then
    margin_s: float  # how far ahead of it the pass would end at the pace of now

    @property
    def bytes_total(self) -> int:
        """Of the whole pass."""
        return self.bytes + self.bytes_left


@attrs.define
class _Pass:
    """One walk over all segments."""

    started: int
    cursor: SegmentId = _BEGINNING
    finished: int = 0
    segments: int = 0
    bytes: int = 0
    damaged: int = 0

    def note(self) -> NoteScrub:
        """The same, for the log."""
        return NoteScrub(self.started, self.cursor, self.finished, self.segments, self.bytes, self.damaged)


class Scrubber:
    """One task that walks the segments in the order of their ids."""

    def __init__(
        self,
        metadata: Metadata,
        segments: Segments,
        refitter: Refitter,
        pacer: Pacer,
        clock: WallClock,
        *,
        period_s: float = 14 * DAY_S,
    ) -> None:
        self._metadata = metadata
        self._segments = segments
        self._refitter = refitter
        self._pacer = pacer
        self._clock = clock
        self._period_s = period_s
        self._pass = _load(metadata.state.scrub())
        self._bytes_left = 0
        self._counted: _Pass | None = None
        self._counted_at = float("-inf")
        self._hurried = False
        self._wake = trio.Event()
        self._stepped = trio.Event()  # replaced after each step: who waits looks again
        self._noted = (trio.current_time(), self._pass.segments)

    def start(self) -> None:
        """Begin a whole pass now, as fast as the budget allows. One that is hurried already goes on."""
        if not self._hurried:
            self._hurried = True
            self._pass = _Pass(self._clock.now_ns())
            self._wake.set()

    async def wait(self, show: Callable[[Progress], None]) -> ScrubStatus:
        """Until the pass that start() began is done."""
        while self._hurried:
            with trio.move_on_after(_SHOW_S):
                await self._stepped.wait()
            status = self.status()
            show(Progress(status.bytes, status.bytes_total, "bytes", f"{status.damaged} damaged shards"))
        return self.status()

    async def run(self) -> None:
        """Scrub for ever, one pass after the other."""
        while True:
            while not self._hurried and self._is_over and self._seconds_to_next() > 0:
                await self._pause(self._seconds_to_next())
            if self._is_over:
                self._pass = _Pass(self._clock.now_ns())
            if self._counted is not self._pass or trio.current_time() - self._counted_at > _PAUSE_S:
                await self.count()
            await self.step()

    @property
    def _is_over(self) -> bool:
        return bool(self._pass.finished) or not self._pass.started

    def _seconds_to_next(self) -> float:
        return _AIM * self._period_s - self._age_s()

    def _age_s(self) -> float:
        """Of the pass; a clock that was set back makes none older than it is."""
        return max(0.0, (self._clock.now_ns() - self._pass.started) / NS_PER_S)

    async def _pause(self, seconds: float) -> None:
        self._wake = trio.Event()
        with trio.move_on_after(min(seconds, _PAUSE_S)):
            await self._wake.wait()

    async def count(self) -> None:
        """Count the bytes that are left, some rows at a time."""
        self._counted, self._counted_at = self._pass, trio.current_time()
        left, cursor = 0, self._pass.cursor
        while chunk := self._after(cursor):
            left += sum(map(_bytes_on_bricks, chunk))
            cursor = chunk[-1].id
            await trio.lowlevel.checkpoint()
        self._bytes_left = left

    def _after(self, cursor: SegmentId, rows: int = _CHUNK) -> list[Segment]:
        start = keys.segment(SegmentId(cursor + 1))
        found = self._metadata.state.store.range(start, keys.table(b"S")[1], rows)
        return [records.SEGMENT.decode(raw) for _, raw in found]

    async def step(self) -> None:
        """Read the next segments, at the pace; at the end of all, finish the pass."""
        current = self._pass
        chunk = self._after(current.cursor, _HURRIED_AT_ONCE if self._hurried else 1)
        if chunk:
            await self._pace(chunk)
            async with trio.open_nursery() as nursery:
                for segment in chunk:
                    nursery.start_soon(self._read, current, segment)
            current.cursor = chunk[-1].id
        elif current is self._pass:
            current.finished = self._clock.now_ns()
            self._hurried = False
        if current is self._pass:
            await self._note()
        self._stepped.set()
        self._stepped = trio.Event()

    async def _read(self, current: _Pass, segment: Segment) -> None:
        here = self._segments.bricks
        problems = await self._segments.verify(segment)  # which tells the healer
        now = self._metadata.state.find_segment(segment.id)
        if now is not None and now.bricks == segment.bricks:
            current.damaged += sum(1 for index, _ in problems if segment.bricks[index] in here)
            await self._refitter.refit(now)
        current.segments += 1
        current.bytes += _bytes_on_bricks(segment)
        self._bytes_left = max(0, self._bytes_left - _bytes_on_bricks(segment))

    async def _pace(self, chunk: list[Segment]) -> None:
        """Wait for the turn of these."""
        length = sum(map(_bytes_on_bricks, chunk))
        if not self._hurried:
            await self._pause(length / max(length / _PAUSE_S, self._bytes_per_s()))
        await self._pacer.spend(length, sum(s.protection.width for s in chunk))

    def _bytes_per_s(self) -> float:
        """The pace that is needed."""
        return self._bytes_left / max(1.0, _AIM * self._period_s - self._age_s())

    async def _note(self) -> None:
        """Keep how far it is: rarely, for what is lost by a crash is read once more."""
        at, segments = self._noted
        now = trio.current_time()
        due = now - at >= _NOTE_S or self._pass.segments - segments >= _NOTE_SEGMENTS or self._pass.finished
        if due:
            self._noted = now, self._pass.segments
            await self._metadata.perform(self._pass.note())

    def status(self) -> ScrubStatus:
        """An immutable snapshot."""
        current = self._pass
        deadline = current.started + round(self._period_s * NS_PER_S)
        return ScrubStatus(
            running=bool(current.started) and not current.finished,
            hurried=self._hurried,
            started=current.started,
            finished=current.finished,
            segments=current.segments,
            bytes=current.bytes,
            damaged=current.damaged,
            bytes_left=0 if current.finished else self._bytes_left,
            deadline=deadline,
            margin_s=self._margin_s(),
        )

    def _margin_s(self) -> float:
        """Before the deadline, when what is left is read as fast as the pass was until now."""
        current, age = self._pass, self._age_s()
        if current.finished:
            return self._period_s - (current.finished - current.started) / NS_PER_S
        needed = self._bytes_left * age / current.bytes if current.bytes else max(0.0, _AIM * self._period_s - age)
        return self._period_s - age - needed


def _bytes_on_bricks(segment: Segment) -> int:
    return segment.protection.width * segment.protection.shard_length(segment.length)


def _load(record: ScrubRecord | None) -> _Pass:
    if record is None:
        return _Pass(0)
    return _Pass(record.started, record.cursor, record.finished, record.segments, record.bytes, record.damaged)
