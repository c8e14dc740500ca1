"""The verbs about bricks: which there are, and what an operator makes of them."""

from typing import Annotated, Final

from dwd.wire.reports_bricks import BalanceReport, BrickListReport, BrickReport
from dwd.wire.verb import AuditClass, PathKind, Permission, Request, Verb, argument, option

_DRY_RUN: Final = "say what it would do, and do nothing"


class BrickListRequest(Request, frozen=True, kw_only=True):
    """Ask which bricks there are."""


class BrickAddRequest(Request, frozen=True, kw_only=True):
    """Ask to take an empty folder in as a brick."""

    folder: Annotated[str, argument("an empty or absent folder, best on a disk of its own", PathKind.FOLDER)]
    weight: Annotated[float, option("its share of what is placed, against the other bricks'; 1 unless given")] = 1.0
    domain: Annotated[str, option("what it is lost together with, REGION/RACK/NODE; this node unless given")] = ""


class BrickDrainRequest(Request, frozen=True, kw_only=True):
    """Ask to move everything off a brick."""

    id: Annotated[int, argument("the brick")]
    cancel: Annotated[bool, option("take a brick that drains or was ejected into service again")] = False
    wait: Annotated[bool, option("return when it is empty")] = False
    force: Annotated[bool, option("also if some of it would stay below its protection, or stay where it is")] = False
    dry_run: Annotated[bool, option(_DRY_RUN)] = False

    @property
    def endangers(self) -> bool:
        """Only when safety is waived."""
        return self.force and not self.dry_run and not self.cancel


class BrickReplaceRequest(Request, frozen=True, kw_only=True):
    """Ask that an empty folder take the place of a brick."""

    id: Annotated[int, argument("the brick that is lost or bad")]
    folder: Annotated[str, argument("an empty or absent folder that takes its place", PathKind.FOLDER)]
    wait: Annotated[bool, option("return when everything is rebuilt")] = False
    force: Annotated[bool, option("although the brick is healthy, or bytes are lost that only it has")] = False
    dry_run: Annotated[bool, option(_DRY_RUN)] = False

    @property
    def endangers(self) -> bool:
        """Only when safety is waived: else one that works, or that bytes depend on, is not replaced."""
        return self.force and not self.dry_run


class BrickRemoveRequest(Request, frozen=True, kw_only=True):
    """Ask to forget a brick."""

    id: Annotated[int, argument("the brick, drained")]
    force: Annotated[bool, option("although it holds shards; --dry-run says what that would cost")] = False
    dry_run: Annotated[bool, option(_DRY_RUN)] = False

    @property
    def endangers(self) -> bool:
        """Only when safety is waived: else only an empty one is removed."""
        return self.force and not self.dry_run


class BrickWeighRequest(Request, frozen=True, kw_only=True):
    """Ask to give a brick another share."""

    id: Annotated[int, argument("the brick")]
    weight: Annotated[float, argument("its share of what is placed, against the other bricks'")]


class BrickBalanceRequest(Request, frozen=True, kw_only=True):
    """Ask to bring every brick to its share."""

    dry_run: Annotated[bool, option(_DRY_RUN)] = False


BRICK_LS: Final = Verb(
    "brick ls", "every brick: condition with evidence, standing, room, what it holds",
    BrickListRequest, BrickListReport, Permission.OBSERVE, AuditClass.NONE,
)  # fmt: skip
BRICK_ADD: Final = Verb(
    "brick add", "take an empty folder in as a brick; what is stored is then balanced in the background",
    BrickAddRequest, BrickReport, Permission.OWN, AuditClass.CHANGE,
)  # fmt: skip
BRICK_DRAIN: Final = Verb(
    "brick drain", "move everything off a brick, so that it can be removed",
    BrickDrainRequest, BrickReport, Permission.OWN, AuditClass.DESTRUCTIVE, streams=True,
)  # fmt: skip
BRICK_REPLACE: Final = Verb(
    "brick replace", "put an empty folder in the place of a lost or bad brick, and rebuild its shards",
    BrickReplaceRequest, BrickReport, Permission.OWN, AuditClass.DESTRUCTIVE, streams=True,
)  # fmt: skip
BRICK_REMOVE: Final = Verb(
    "brick remove", "forget a drained brick; its id is never used again",
    BrickRemoveRequest, BrickReport, Permission.OWN, AuditClass.DESTRUCTIVE,
)  # fmt: skip
BRICK_WEIGH: Final = Verb(
    "brick weigh", "give a brick another share of what is placed",
    BrickWeighRequest, BrickReport, Permission.OWN, AuditClass.CHANGE,
)  # fmt: skip
BRICK_BALANCE: Final = Verb(
    "brick balance", "bring every brick to its share, by moving as little as possible",
    BrickBalanceRequest, BalanceReport, Permission.OWN, AuditClass.CHANGE, streams=True,
)  # fmt: skip
