"""What the verbs about protection answer."""

from typing import Literal

import msgspec

from dwd.wire.reports import ByteCount, ConversionProgress, HealingStatus, Report, Seconds, UnixTime
from dwd.wire.reports_bricks import ConditionName, ExposureRow, StandingName


class ConversionEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What another protection would make of a tree."""

    files: int
    directories: int
    bytes: ByteCount
    to_rewrite: ByteCount
    stored_before: ByteCount  # on bricks
    stored_after: ByteCount
    seconds: Seconds | None  # None: nothing is known of the speed


class ProtectReport(Report, frozen=True, kw_only=True):
    """The protection of a directory or file, and what becomes of it."""

    path: str
    protection: str  # that its bytes are to have
    policy: str | None  # set on it itself; None: it has what is above it
    previous: str | None  # policy before that
    now: str  # what new bytes get at the moment: weaker while the mode does not fit
    dry_run: bool
    conversion: ConversionProgress | None
    estimate: ConversionEstimate | None  # of a dry run


class SegmentPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a file in one segment."""

    segment: str  # hex
    bytes: ByteCount
    extents: int
    protection: str
    wanted: str  # as it was meant to be
    margin: int  # bricks that may still be lost; below 0 it cannot be read
    bricks: tuple[int, ...]  # by shard; 0: never placed
    missing: tuple[int, ...]  # shards whose bricks are not here


class BrickShare(msgspec.Struct, frozen=True, kw_only=True):
    """What a brick has to do with it."""

    id: int
    path: str
    state: ConditionName
    standing: StandingName
    shards: int
    used: ByteCount


class WhereReport(Report, frozen=True, kw_only=True):
    """Where bytes are. Everything counts all of it; only `segments` is cut."""

    path: str
    kind: Literal["file", "directory", "other"]
    files: int
    size: ByteCount  # of its bytes, without holes
    inline: ByteCount  # that are in the log and the state store
    used: ByteCount  # on bricks: with all shards, headers, and its part of what died in the segments
    segments_total: int
    margin: int | None  # of the worst segment: bricks that may still be lost; None: it has none
    unreadable: ByteCount
    zero_margin: ByteCount
    bricks: tuple[BrickShare, ...]
    segments: tuple[SegmentPlace, ...]


class WhatIfReport(Report, frozen=True, kw_only=True):
    """What the loss of bricks would do, on top of what is missing already."""

    lost: tuple[int, ...]
    missing_now: tuple[int, ...]
    files: int  # with bytes in segments, of the whole volume
    bytes: ByteCount
    exposed: tuple[ExposureRow, ...]
    rebuild_bytes: ByteCount  # of shards, until all that is readable has its protection again
    rate: ByteCount  # each second, that this is counted with
    rate_is: Literal["budget", "measured", "assumed"]
    seconds: Seconds  # to protect it again


class ScrubReport(Report, frozen=True, kw_only=True):
    """The scrub under way, or the last one."""

    running: bool
    hurried: bool  # somebody asked for it
    started: UnixTime  # 0: never
    finished: UnixTime  # 0: not yet
    segments: int
    bytes_read: ByteCount
    bytes_left: ByteCount
    damaged: int  # shards, which are mended
    deadline: UnixTime  # everything is to be read by then
    margin: Seconds  # before the deadline, at the pace of now; below 0 it will be late

    @property
    def clean(self) -> bool:
        """Whether no damage was found."""
        return self.damaged == 0


class DrainRow(msgspec.Struct, frozen=True, kw_only=True):
    """A brick that is being emptied."""

    brick: int
    bytes_left: ByteCount


class HealReport(Report, frozen=True, kw_only=True):
    """What is being mended and moved."""

    healing: HealingStatus
    by_margin: dict[str, int]  # degraded segments, by the bricks that they may still lose
    away: int  # segments that wait for a brick to come back before anything is built anew
    leaving: int  # segments with shards on an ejected brick
    rebuilt_shards: int  # since the daemon's start, as what follows
    rebuilt_bytes: ByteCount
    resynced: int  # shards that were found again on bricks that came back
    upgraded: int  # segments written anew at the mode that was wanted
    mended: int  # damaged shards that a read or the scrub met
    mending: int  # segments with such, waiting
    unreadable: tuple[str, ...]  # some segments that cannot be read
    draining: tuple[DrainRow, ...]
    balancing: ByteCount  # left to move
    moved: ByteCount
    rate: ByteCount | None  # that background work may take each second at this moment; None: what the machine has
    rate_most: ByteCount | None  # the budget: what it may take when files are not read or written
    operations_most: int | None
    deadline: Seconds | None  # for what is degraded to be whole, from when it was found
    foreground: ByteCount  # that files are read and written with each second
    problem: str  # what failed last
