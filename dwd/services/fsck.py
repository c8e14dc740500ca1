"""fsck: walk everything, in both directions, while the volume is in use.

Metadata is surveyed in a snapshot; every shard of every segment is read and verified; every shard
file must have a segment. A segment that vanished meanwhile is no finding.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Literal

import trio

from dwd.model.errors import BrickFault
from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.namespace.state import State
from dwd.namespace.store import Store
from dwd.namespace.survey import Survey, survey
from dwd.ports import DurableStore
from dwd.services.consensus import Consensus
from dwd.services.garbage import GarbageCollector
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.wire.admin import Progress
from dwd.wire.reports import FINDINGS_MAX, Finding, FsckReport

_SEGMENTS_AT_ONCE: Final = 2
_BACKUP: Final = "restore what it concerns from a backup; keep a copy of the data folder for an analysis"
_ShowProgress = Callable[[Progress], None]


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
        findings: list[Finding] = []
        problems = await trio.to_thread.run_sync(self._store.quick_check)
        findings += [_finding("damaged-store", "error", "state store", problem, _BACKUP) for problem in problems]
        surveyed, numbers = await trio.to_thread.run_sync(self._survey, show)
        findings += [_finding(d.code, "error", d.subject, d.detail, _BACKUP) for d in surveyed.defects]
        shards, verified = await self._verify_segments(numbers, findings, show, read_bytes=read_bytes)
        await self._find_strays(findings)
        return FsckReport(
            inodes=surveyed.inodes,
            entries=surveyed.entries,
            extents=surveyed.extents,
            segments=surveyed.segments,
            shards=shards,
            bytes_verified=verified,
            findings_total=len(findings),
            findings=tuple(findings[:FINDINGS_MAX]),
        )

    def _survey(self, show: _ShowProgress) -> tuple[Survey, list[SegmentId]]:
        """In a worker thread, over a snapshot."""

        def progress(rows: int) -> None:
            trio.from_thread.run_sync(show, Progress(rows, 0, "rows", "metadata"))

        with self._open_snapshot() as store:
            state = State(store)
            return survey(state, progress), [segment.id for segment in state.segments(b"S")]

    async def _verify_segments(
        self, numbers: list[SegmentId], findings: list[Finding], show: _ShowProgress, *, read_bytes: bool
    ) -> tuple[int, int]:
        find = self._metadata.state.find_segment
        check = self._segments.verify if read_bytes else self._segments.missing_shards
        waiting = iter(numbers)
        done = shards = verified = 0

        async def verify() -> None:
            nonlocal done, shards, verified
            for number in waiting:
                done += 1
                show(Progress(done, len(numbers), "segments", "shards"))
                segment = find(number)
                if segment is None:
                    continue  # it was freed since the survey
                problems = await check(segment)
                if problems and find(number) is not None:
                    findings.extend(_shard_findings(segment, problems))
                shards += segment.protection.width - len(problems)
                verified += segment.length if read_bytes else 0

        async with trio.open_nursery() as nursery:
            for _ in range(_SEGMENTS_AT_ONCE):
                nursery.start_soon(verify)
        return shards, verified

    async def _find_strays(self, findings: list[Finding]) -> None:
        for brick in self._segments.bricks:
            try:
                strays = await self._strays(brick)
                if strays:
                    # One that was being removed when it was listed is not there any more.
                    strays &= await self._strays(brick)
            except BrickFault as fault:
                findings.append(_finding("unreadable-brick", "error", f"brick {brick}", str(fault), "see to its disk"))
                continue
            for segment, index in sorted(strays):
                subject = f"shard {index} of segment {segment:016x} on brick {brick}"
                findings.append(
                    _finding("stray-shard", "warning", subject, "no record names it", "it goes at the next start")
                )

    async def _strays(self, brick: BrickId) -> set[tuple[SegmentId, ShardIndex]]:
        in_flight, named = self._segments.in_flight, self._metadata.state.names_segment
        shards = await self._segments.list_shards(brick)
        return {shard for shard in shards if shard[0] not in in_flight and not named(shard[0])}


def _shard_findings(segment: Segment, problems: list[tuple[ShardIndex, str]]) -> list[Finding]:
    lost = len(problems) > segment.protection.m
    severity: Literal["warning", "error"] = "error" if lost else "warning"
    remedy = _BACKUP if lost else "bring the brick back; the bytes can be computed from the other shards"
    code = "lost-segment" if lost else "damaged-shard"
    return [
        _finding(code, severity, f"shard {index} of segment {segment.id:016x}", detail, remedy)
        for index, detail in problems
    ]


def _finding(code: str, severity: Literal["warning", "error"], subject: str, detail: str, remedy: str) -> Finding:
    return Finding(code=code, severity=severity, subject=subject, detail=detail, remedy=remedy)
