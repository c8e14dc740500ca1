"""What the verbs answer: one Struct each, a JSON object for scripts and a table for people.

These are objects and not arrays, unlike everything else that we encode: `--json` and REST print
them as they are. Fields are only ever added. Every text that holds a file name was made by
dwd.wire.shown.shown_name; a field's unit says how a person is shown its number.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

FINDINGS_MAX: Final = 1000  # a report is cut there; findings_total goes on counting

ByteCount: TypeAlias = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(extra={"unit": "seconds"})]
UnixTime: TypeAlias = Annotated[int, msgspec.Meta(extra={"unit": "time"})]  # seconds since 1970


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What every reply is."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong; the command line exits with 1 if something is."""
        return True


class BrickStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One brick."""

    id: int
    path: str
    state: Literal["online", "suspected", "missing", "read-only", "faulted", "other-volume"]
    total: ByteCount
    free: ByteCount
    shards: int | None = None  # None: not counted
    standing: Literal["active", "draining", "ejected", "removed"] = "active"
    evidence: str = ""  # why it is not online


class MountStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One connected mount."""

    label: str  # the mount point
    session: str  # hex
    pid: int
    exclusive: bool  # no other mount has the volume


class SpaceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of file data, at the volume's protection."""

    total: ByteCount
    available: ByteCount
    used: ByteCount


class LogStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log stands."""

    term: int
    commit: int
    applied: int
    durable: int  # what the store holds for sure; the log before it may be forgotten
    wal_bytes: ByteCount


class SegmentsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Stored segments: how many have bytes that files point at, how many wait for the compactor."""

    live: int
    dead: int
    bytes: ByteCount


class HealingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How many segments are not as they are meant to be, and how long it takes until they are."""

    state: Literal["whole", "healing", "waiting"]  # waiting: for a brick, or for room
    degraded: int  # segments with fewer shards than they are to have
    zero_margin: int  # those of them that the next loss takes
    lost: int  # segments that cannot be read
    at_fallback: int  # segments at a weaker mode than is wanted
    waiting: int  # shards for which there is no brick
    bytes_left: ByteCount
    seconds_left: Seconds | None  # None: not known
    damaged: int = 0  # segments with shards that were found damaged, and are not mended yet
    problem: str = ""  # what stood in the way last


class ConversionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A tree that is on its way to another protection."""

    path: str
    wanted: str  # "default": the volume's
    state: Literal["running", "paused"]
    started: UnixTime
    files: int  # looked at by the pass under way
    files_total: int
    bytes_done: ByteCount
    bytes_total: ByteCount
    problem: str  # why it waits


class StatusReport(Report, frozen=True, kw_only=True):
    """The daemon and its volume at one look."""

    state: Literal["starting", "serving", "degraded", "stopping"]
    volume: str  # hex
    version: str
    pid: int
    epoch: int
    uptime_s: Seconds
    protection: str
    space: SpaceStatus
    inodes: int
    inline_bytes: ByteCount
    segments: SegmentsStatus
    log: LogStatus
    bricks: tuple[BrickStatus, ...]
    mounts: tuple[MountStatus, ...]
    findings: int  # open ones
    problems: tuple[str, ...]  # each says what is wrong and what to do
    protection_now: str = ""  # what is written gets: weaker than `protection` while that does not fit
    healing: HealingStatus | None = None
    conversions: tuple[ConversionProgress, ...] = ()


class StatisticsReport(Report, frozen=True, kw_only=True):
    """Counters and gauges since the start; a name is "component.what_unit"."""

    values: dict[str, int | float]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong, with evidence. Codes are public and stable."""

    code: str
    severity: Literal["info", "warning", "error"]  # error: data is lost or unreadable now; info: nothing is to be done
    subject: str  # what it is about: an inode, a segment, a brick
    detail: str
    remedy: str


class FsckReport(Report, frozen=True, kw_only=True):
    """What was walked, and what is wrong. `findings` holds the first FINDINGS_MAX; information is not counted."""

    inodes: int
    entries: int
    extents: int
    segments: int
    shards: int
    bytes_verified: ByteCount
    findings_total: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether there is no finding."""
        return self.findings_total == 0


class VolumeReport(Report, frozen=True, kw_only=True):
    """What a volume was made as."""

    id: str  # hex
    created: UnixTime
    protection: str
    formats: dict[str, int]  # version by format: "wal", "store", "shard", ...
    bricks: tuple[str, ...]  # paths


class ConfigReport(Report, frozen=True, kw_only=True):
    """The settings that a daemon of this data folder starts with, all valid."""

    data: str
    file: str
    file_present: bool
    settings: dict[str, str]  # only those that are set
    volume: str | None  # hex; None: the folder holds none yet


class VersionReport(Report, frozen=True, kw_only=True):
    """The version of the program that answers; the command line adds the running daemon's."""

    version: str
    admin_protocol: int
    daemon: str | None = None


class StopReport(Report, frozen=True, kw_only=True):
    """The daemon has heard; the command line then waits for its end."""

    was_running: bool
    pid: int | None


class StartReport(Report, frozen=True, kw_only=True):
    """A daemon that was started in the background, and serves. Not a verb's: the command line makes it."""

    pid: int
    data: str
    log: str
