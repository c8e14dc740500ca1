"""What the verbs about bricks answer."""

from typing import Literal, TypeAlias

import msgspec

from dwd.wire.reports import ByteCount, Report, Seconds, UnixTime

StandingName: TypeAlias = Literal["active", "draining", "ejected", "removed"]
ConditionName: TypeAlias = Literal["online", "suspected", "missing", "faulted", "other-volume"]


class BrickRow(msgspec.Struct, frozen=True, kw_only=True):
    """One brick, as it is now and as the records have it."""

    id: int
    path: str
    state: ConditionName
    standing: StandingName
    weight: float
    domain: str
    total: ByteCount  # of its device
    free: ByteCount
    shards: int  # that records name there
    held: ByteCount  # by them
    metadata: bool  # whether it has a copy of log and state store
    since: UnixTime  # of its standing
    evidence: str  # why it is not online, or stands as it does


class BrickListReport(Report, frozen=True, kw_only=True):
    """Every brick of this node that was not removed."""

    bricks: tuple[BrickRow, ...]


class ExposureRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a loss would do to files: how many have it as their worst, and how many bytes it concerns."""

    fate: Literal["unreadable", "zero-margin", "degraded"]
    files: int
    bytes: ByteCount
    segments: int
    some: tuple[str, ...]  # paths of the first ones


class BrickReport(Report, frozen=True, kw_only=True):
    """What was done with a brick, or (dry_run) would be."""

    id: int
    path: str
    standing: StandingName
    weight: float
    dry_run: bool
    shards: int  # that are on it, or were
    bytes_to_move: ByteCount  # off it, or onto it
    seconds: Seconds | None  # that this takes; None: not known
    warning: str  # what is below its protection until it is mended
    exposed: tuple[ExposureRow, ...]  # what is lost, or worse protected, by it


class BalanceReport(Report, frozen=True, kw_only=True):
    """What a balance moves."""

    dry_run: bool
    bytes_to_move: ByteCount
    least: ByteCount  # that any plan must move to reach the weights
    seconds: Seconds | None
