"""The one registry of what an operator can ask (D11): admin socket, command line, REST and docs are made from it.

To add a verb: its request here or in a verbs_*.py, its report in a reports*.py, one entry in VERBS, and a handler in
dwd.serving.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

from dwd.model.checks import invariant
from dwd.wire.reports import (
    ConfigReport,
    FsckReport,
    StatisticsReport,
    StatusReport,
    StopReport,
    VersionReport,
    VolumeReport,
)
from dwd.wire.verb import AnyVerb, AuditClass, Permission, Request, Verb, argument, option
from dwd.wire.verbs_bricks import (
    BRICK_ADD,
    BRICK_BALANCE,
    BRICK_DRAIN,
    BRICK_LS,
    BRICK_REMOVE,
    BRICK_REPLACE,
    BRICK_WEIGH,
)
from dwd.wire.verbs_protection import HEAL_SET, HEAL_STATUS, PROTECT, SCRUB_START, SCRUB_STATUS, WHAT_IF_LOSE, WHERE


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


def _registry(*verbs: AnyVerb) -> Mapping[str, AnyVerb]:
    named = {verb.name: verb for verb in verbs}
    invariant(len(named) == len(verbs), "V1", "two verbs have one name")
    return MappingProxyType(named)


VERBS: Final = _registry(
    STATUS, STATISTICS, VERSION, STOP, CONFIG_CHECK, FSCK, VOLUME_SHOW,
    BRICK_LS, BRICK_ADD, BRICK_DRAIN, BRICK_REPLACE, BRICK_REMOVE, BRICK_WEIGH, BRICK_BALANCE,
    PROTECT, WHERE, WHAT_IF_LOSE, SCRUB_START, SCRUB_STATUS, HEAL_STATUS, HEAL_SET,
)  # fmt: skip
