"""fsck: walk everything, in both directions, while the volume is in use.

Metadata is surveyed in a snapshot; every shard of every segment is read and verified; every shard
file must have an owner. A segment that vanished meanwhile is no finding. What healing will mend by itself is a
warning; that a segment has the strongest protection that fits, but not the one that is wanted, is information.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Literal, TypeAlias

import trio

from dwd.model.errors import BrickFault
from dwd.model.ids import NO_BRICK, BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.namespace.state import State
from dwd.namespace.store import Store
from dwd.namespace.survey import Survey, survey
from dwd.ports import DurableStore
from dwd.services.census import shards_on
from dwd.services.consensus import Consensus
from dwd.services.garbage import GarbageCollector, ShardFile
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.wire.admin import Progress
from dwd.wire.reports import FINDINGS_MAX, Finding, FsckReport

_SEGMENTS_AT_ONCE: Final = 2
_STRAYS_MAX: Final = FINDINGS_MAX  # of one brick, looked at a second time
_BRING_BACK: Final = "bring its bricks back (`dwd brick ls`); if they are gone for good, restore it from a backup"
_BACKUP: Final = "restore what it concerns from a backup; keep a copy of the data folder for an analysis"
_MENDS: Final = "healing computes it from the other shards: `dwd heal status`"
_NEEDS_BRICK: Final = "bring the brick back, or add or replace one: healing then completes it by itself"
_NEEDS_BRICKS: Final = "add bricks: what is stored is then rewritten at the wanted protection by itself"
_ShowProgress: TypeAlias = Callable[[Progress], None]
_Severity: TypeAlias = Literal["info", "warning", "error"]


class Findings:
    """The first ones, and how many there are of those that somebody must act on."""

    def __init__(self) -> None:
        self.first: list[Finding] = []
        self.total = 0

    def add(self, code: str, severity: _Severity, subject: str, detail: str, remedy: str) -> None:
        """Note one; information does not count."""
        self.total += severity != "info"
        if len(self.first) < FINDINGS_MAX:
            found = Finding(code=code, severity=severity, subject=subject, detail=detail, remedy=remedy)
            self.first.append(found)

    def add_shards(self, segment: Segment, problems: list[tuple[ShardIndex, str]]) -> None:
        """Shards of a segment that cannot be read: damaged, or on no brick that is here."""
        lost = len(problems) > segment.protection.m
        code, remedy = ("lost-segment", _BRING_BACK) if lost else ("damaged-shard", _MENDS)
        for index, detail in problems:
            subject = f"shard {index} of segment {segment.id:016x}"
            self.add(code, "error" if lost else "warning", subject, detail, remedy)

    def add_width(self, segment: Segment, absent: list[ShardIndex]) -> None:
        """A segment that has fewer shards than it is to have, or another protection."""
        subject, protection = f"segment {segment.id:016x}", segment.protection
        if absent:
            detail = f"{protection.width - len(absent)} of its {protection.width} shards are on bricks that are here"
            self.add("degraded-segment", "warning", subject, detail, _NEEDS_BRICK)
        if segment.wanted is not None:
            detail = f"has {protection.name} until {segment.wanted.name} fits"
            self.add("fallback-segment", "info", subject, detail, _NEEDS_BRICKS)


class Fsck:
    """Checks one volume."""

    def __init__(
        self,
        consensus: Consensus,
        metadata: Metadata,
        segments: Segments,
        garbage: GarbageCollector,
        store: DurableStore,
        open_snapshot: Callable[[], AbstractContextManager[Store]],
    ) -> None:
        self._consensus = consensus
        self._metadata = metadata
        self._segments = segments
        self._garbage = garbage
        self._store = store
        self._open_snapshot = open_snapshot

    async def run(self, show: _ShowProgress, *, read_bytes: bool) -> FsckReport:
        """Check everything; without read_bytes shards are looked for but not read."""
        await self._garbage.swept.wait()
        await self._consensus.flush()
        findings = Findings()
        for problem in await trio.to_thread.run_sync(self._store.quick_check):
            findings.add("damaged-store", "error", "state store", problem, _BACKUP)
        surveyed, numbers = await trio.to_thread.run_sync(self._survey, show)
        for defect in surveyed.defects:
            findings.add(defect.code, "error", defect.subject, defect.detail, _BACKUP)
        shards, verified = await self.verify_segments(numbers, findings, show, read_bytes=read_bytes)
        await self.find_strays(findings)
        return FsckReport(
            inodes=surveyed.inodes,
            entries=surveyed.entries,
            extents=surveyed.extents,
            segments=surveyed.segments,
            shards=shards,
            bytes_verified=verified,
            findings_total=findings.total,
            findings=tuple(findings.first),
        )

    def _survey(self, show: _ShowProgress) -> tuple[Survey, list[SegmentId]]:
        """In a worker thread, over a snapshot."""

        def progress(rows: int) -> None:
            trio.from_thread.run_sync(show, Progress(rows, 0, "rows", "metadata"))

        with self._open_snapshot() as store:
            state = State(store)
            return survey(state, progress), [segment.id for segment in state.segments(b"S")]

    async def verify_segments(
        self, numbers: list[SegmentId], findings: Findings, show: _ShowProgress, *, read_bytes: bool
    ) -> tuple[int, int]:
        """Look for every shard; how many are sound, and of how many bytes."""
        waiting = iter(numbers)
        done = shards = verified = 0

        async def verify() -> None:
            nonlocal done, shards, verified
            for number in waiting:
                done += 1
                show(Progress(done, len(numbers), "segments", "shards"))
                segment = self._metadata.state.find_segment(number)
                if segment is None:
                    continue  # it was freed since the survey
                unreadable = await self._verify(segment, findings, read_bytes=read_bytes)
                shards += segment.protection.width - unreadable
                verified += segment.length if read_bytes else 0

        async with trio.open_nursery() as nursery:
            for _ in range(_SEGMENTS_AT_ONCE):
                nursery.start_soon(verify)
        return shards, verified

    async def _verify(self, segment: Segment, findings: Findings, *, read_bytes: bool) -> int:
        """How many shards of it cannot be read."""
        here = self._segments.bricks
        check = self._segments.verify if read_bytes else self._segments.missing_shards
        problems = await check(segment)
        now = self._metadata.state.find_segment(segment.id)
        if now is None or now.bricks != segment.bricks:
            return 0  # it was freed, healed or moved while it was looked at
        absent = [i for i, _ in problems if segment.bricks[i] == NO_BRICK or segment.bricks[i] not in here]
        lost = len(problems) > segment.protection.m
        shown = problems if lost else [(i, detail) for i, detail in problems if i not in absent]
        if shown:
            findings.add_shards(segment, shown)
        findings.add_width(segment, [] if lost else absent)
        return len(problems)

    async def find_strays(self, findings: Findings) -> None:
        """Every shard file must be the one that a record names there."""
        for brick in list(self._segments.bricks):
            try:
                strays = await self._strays(brick)
            except BrickFault as fault:
                findings.add("unreadable-brick", "error", f"brick {brick}", str(fault), "see to its disk")
                continue
            for stray in strays:
                subject = f"shard {stray.index} of segment {stray.segment:016x} on brick {brick}"
                findings.add("stray-shard", "warning", subject, "no record names it there", "the next sweep removes it")

    async def _strays(self, brick: BrickId) -> list[ShardFile]:
        """One that was being removed when it was listed is not there any more: all are looked for a second time."""
        first = await self._listed_strays(brick, None)
        return sorted(await self._listed_strays(brick, first)) if first else []

    async def _listed_strays(self, brick: BrickId, among: set[ShardFile] | None) -> set[ShardFile]:
        found: set[ShardFile] = set()
        here = self._segments.bricks.get(brick)
        if here is None:
            raise BrickFault(f"brick {brick} went while it was looked through")
        async for piece in shards_on(here):
            for file in (ShardFile(brick, *shard) for shard in piece):
                wanted = file in among if among is not None else len(found) < _STRAYS_MAX
                if wanted and self._garbage.is_stray(file):
                    found.add(file)
        return found
