"""The one registry of what an operator can ask (D11): admin socket, command line, REST and docs are made from it.

To add a verb: its request here, its report in reports.py, one entry in VERBS, and a handler in
dwd.app. A request's fields are the options of the command line: each has a description, and
argument() instead of option() makes it positional.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import attrs
import msgspec

from dwd.model.checks import invariant
from dwd.wire.reports import (
    ConfigReport,
    FsckReport,
    Report,
    StatisticsReport,
    StatusReport,
    StopReport,
    VersionReport,
    VolumeReport,
)


class Permission(enum.IntEnum):
    """What a caller must be allowed; each includes those before it."""

    OBSERVE = 1  # see state
    OPERATE = 2  # cost the node work, change nothing that lasts
    OWN = 3  # everything


class AuditClass(enum.StrEnum):
    """What a call does, for those who read the audit log."""

    NONE = "none"
    READ = "read"
    CHANGE = "change"
    DESTRUCTIVE = "destructive"


def option(description: str) -> msgspec.Meta:
    """A field that is given as --name."""
    return msgspec.Meta(description=description)


def argument(description: str) -> msgspec.Meta:
    """A field that is given by its position."""
    return msgspec.Meta(description=description, extra={"positional": True})


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request is."""


class StatusRequest(Request, frozen=True, kw_only=True):
    """Ask for the status."""


class StatisticsRequest(Request, frozen=True, kw_only=True):
    """Ask for the statistics."""

    component: Annotated[str, argument("only this component, such as wal; default: all")] = ""


class VersionRequest(Request, frozen=True, kw_only=True):
    """Ask for the version."""


class StopRequest(Request, frozen=True, kw_only=True):
    """Ask the daemon to end."""


class ConfigCheckRequest(Request, frozen=True, kw_only=True):
    """Ask whether the settings are valid."""


class FsckRequest(Request, frozen=True, kw_only=True):
    """Ask for a walk of the volume."""

    metadata_only: Annotated[bool, option("look for every shard but do not read its bytes")] = False


class VolumeShowRequest(Request, frozen=True, kw_only=True):
    """Ask what the volume was made as."""


RequestT_co = TypeVar("RequestT_co", bound=Request, covariant=True)
ReportT_co = TypeVar("ReportT_co", bound=Report, covariant=True)


@attrs.frozen
class Verb(Generic[RequestT_co, ReportT_co]):
    """One thing that can be asked."""

    name: str  # words of the command line: "volume show"
    summary: str
    request: type[RequestT_co]
    report: type[ReportT_co]
    permission: Permission
    audit: AuditClass
    streams: bool = False  # takes long: shows progress, and ends when its caller hangs up

    @property
    def words(self) -> tuple[str, ...]:
        """The name, word by word."""
        return tuple(self.name.split())


STATUS: Final = Verb(
    "status", "the daemon, its bricks, mounts, room and log",
    StatusRequest, StatusReport, Permission.OBSERVE, AuditClass.NONE,
)  # fmt: skip
STATISTICS: Final = Verb(
    "statistics", "counters and gauges by component",
    StatisticsRequest, StatisticsReport, Permission.OBSERVE, AuditClass.NONE,
)  # fmt: skip
VERSION: Final = Verb(
    "version", "versions of this program and of the running daemon",
    VersionRequest, VersionReport, Permission.OBSERVE, AuditClass.NONE,
)  # fmt: skip
STOP: Final = Verb(
    "stop", "end the daemon cleanly, and wait until it has ended",
    StopRequest, StopReport, Permission.OWN, AuditClass.CHANGE,
)  # fmt: skip
CONFIG_CHECK: Final = Verb(
    "config check", "whether the settings and the data folder are valid; needs no daemon",
    ConfigCheckRequest, ConfigReport, Permission.OBSERVE, AuditClass.READ,
)  # fmt: skip
FSCK: Final = Verb(
    "fsck", "walk every inode, extent, segment and shard; exit code 1 with findings",
    FsckRequest, FsckReport, Permission.OPERATE, AuditClass.READ, streams=True,
)  # fmt: skip
VOLUME_SHOW: Final = Verb(
    "volume show", "identity, protection and formats of the volume",
    VolumeShowRequest, VolumeReport, Permission.OBSERVE, AuditClass.READ,
)  # fmt: skip


AnyVerb: TypeAlias = Verb[Request, Report]


def _registry(*verbs: AnyVerb) -> Mapping[str, AnyVerb]:
    named = {verb.name: verb for verb in verbs}
    invariant(len(named) == len(verbs), "V1", "two verbs have one name")
    return MappingProxyType(named)


VERBS: Final = _registry(STATUS, STATISTICS, VERSION, STOP, CONFIG_CHECK, FSCK, VOLUME_SHOW)
