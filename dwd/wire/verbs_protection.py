"""The verbs about protection: what is to have how much, where bytes are, what a loss would cost, scrub and healing."""

from typing import Annotated, Final, TypeAlias

import msgspec

from dwd.wire.reports_protection import HealReport, ProtectReport, ScrubReport, WhatIfReport, WhereReport
from dwd.wire.verb import AuditClass, PathKind, Permission, Request, Verb, argument, option

ROWS_MAX: Final = 10_000  # refuse: more does not fit into an answer
_LIMIT: Final = msgspec.Meta(ge=0, le=ROWS_MAX)
_Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class ProtectRequest(Request, frozen=True, kw_only=True):
    """Ask for another protection of a directory or file, or how its conversion goes. At most one of these."""

    path: Annotated[str, argument("a directory or file: on a mount, or from the volume's root", PathKind.VOLUME)]
    mode: Annotated[
        str, argument("None, Replica2, Replica3, RAID6, RAIDZ3, k+m; default: what is above it has; absent: --status")
    ] = ""
    status: Annotated[bool, option("only say what it has, and how its conversion goes")] = False
    pause: Annotated[bool, option("stop its conversion; what is written meanwhile has the new protection")] = False
    resume: Annotated[bool, option("go on with its conversion")] = False
    revert: Annotated[bool, option("convert it back to what it had before")] = False
    dry_run: Annotated[bool, option("count files and bytes, estimate space and time, and do nothing")] = False


class WhereRequest(Request, frozen=True, kw_only=True):
    """Ask where the bytes of a file or directory are."""

    path: Annotated[str, argument("a directory or file: on a mount, or from the volume's root", PathKind.VOLUME)]
    limit: Annotated[int, option("list so many segments; the totals count all"), _LIMIT] = 100


class WhatIfLoseRequest(Request, frozen=True, kw_only=True):
    """Ask what the loss of bricks would mean."""

    lost: Annotated[tuple[str, ...], argument("bricks by id, or all bricks of a node: node:1")]
    limit: Annotated[int, option("list so many files of each kind; the totals count all"), _LIMIT] = 20


class ScrubStartRequest(Request, frozen=True, kw_only=True):
    """Ask to read everything now."""

    wait: Annotated[bool, option("return when it is done; exit code 1 if there was damage")] = False


class ScrubStatusRequest(Request, frozen=True, kw_only=True):
    """Ask how far the scrub is."""


class HealStatusRequest(Request, frozen=True, kw_only=True):
    """Ask what is being mended."""


class HealSetRequest(Request, frozen=True, kw_only=True):
    """Ask for another budget of background work, until the daemon ends. What is not given stays; 0 is no bound."""

    rate: Annotated[_Natural | None, option("bytes that it reads and writes each second, at most")] = None
    operations: Annotated[_Natural | None, option("shards that it reads and writes each second, at most")] = None
    deadline: Annotated[
        _Seconds | None, option("seconds until what is degraded is whole again, at the cost of files if need be")
    ] = None


PROTECT: Final = Verb(
    "protect", "set the protection of a directory or file; what is there is converted in the background",
    ProtectRequest, ProtectReport, Permission.OWN, AuditClass.CHANGE, streams=True,
)  # fmt: skip
WHERE: Final = Verb(
    "where", "the segments, bricks and real space of a file or directory, and how many bricks it may lose",
    WhereRequest, WhereReport, Permission.OPERATE, AuditClass.READ, streams=True,
)  # fmt: skip
WHAT_IF_LOSE: Final = Verb(
    "what-if lose", "files and bytes that the loss of bricks would make unreadable or leave without margin",
    WhatIfLoseRequest, WhatIfReport, Permission.OPERATE, AuditClass.READ, streams=True,
)  # fmt: skip
SCRUB_START: Final = Verb(
    "scrub start", "read every shard now, as fast as the budget allows; what is damaged is mended",
    ScrubStartRequest, ScrubReport, Permission.OPERATE, AuditClass.CHANGE, streams=True,
)  # fmt: skip
SCRUB_STATUS: Final = Verb(
    "scrub status", "how far the scrub is, what it found, and whether it keeps its deadline",
    ScrubStatusRequest, ScrubReport, Permission.OBSERVE, AuditClass.NONE,
)  # fmt: skip
HEAL_STATUS: Final = Verb(
    "heal status", "what is being mended or moved, what waits for a brick, and how long it will take",
    HealStatusRequest, HealReport, Permission.OBSERVE, AuditClass.NONE,
)  # fmt: skip
HEAL_SET: Final = Verb(
    "heal set", "bound the rate of healing, scrub, moving and converting, or give healing a deadline",
    HealSetRequest, HealReport, Permission.OWN, AuditClass.CHANGE,
)  # fmt: skip
