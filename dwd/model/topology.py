"""Where a brick stands, and what it may be used for: failure domains and standings (D8).

Rules: what stands closer together is lost together, so a domain is named by the whole way down to it. Every
Domain is valid; its text is what records keep.
"""

import re
from enum import IntEnum, StrEnum
from typing import Final

import attrs

from dwd.model.errors import BadConfig
from dwd.model.ids import BrickId, NodeId

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HERE: Final = "default"  # region and rack when nobody named them


class Standing(IntEnum):
    """What the operator, or the brick's own health, made of a brick."""

    ACTIVE = 1
    DRAINING = 2  # readable, takes nothing new, is emptied
    EJECTED = 3  # suspected for good: not written, read last
    REMOVED = 4  # a tombstone: its id is never used again

    @property
    def takes_new(self) -> bool:
        """Whether new shards may be placed there."""
        return self is Standing.ACTIVE

    @property
    def readable(self) -> bool:
        """Whether shards may be looked for there."""
        return self is not Standing.REMOVED


class Level(StrEnum):
    """How far apart the shards of a segment stand: what a failure takes at once."""

    REGION = "region"
    RACK = "rack"
    NODE = "node"
    BRICK = "brick"


def _check_name(domain: "Domain", attribute: "attrs.Attribute[str]", value: str) -> None:
    if not _NAME.fullmatch(value):
        raise BadConfig(
            f"failure domain {domain.text!r}: the {attribute.name} must be 1 to 64 letters, digits, '.', '_' or '-'"
        )


@attrs.frozen
class Domain:
    """The place of a node."""

    region: str = attrs.field(validator=_check_name)
    rack: str = attrs.field(validator=_check_name)
    node: str = attrs.field(validator=_check_name)

    @property
    def text(self) -> str:
        """The spelling that parse_domain reads back."""
        return f"{self.region}/{self.rack}/{self.node}"

    def at(self, level: Level, brick: BrickId) -> str:
        """The name of what a brick here is lost together with, at a level."""
        way = (self.region, self.rack, self.node, str(brick))
        return "/".join(way[: list(Level).index(level) + 1])


def default_domain(node: NodeId) -> Domain:
    """The place of a node of which nothing was said."""
    return Domain(_HERE, _HERE, str(node))


def parse_domain(text: str) -> Domain:
    """Read "region/rack/node".

    Raises:
        BadConfig: there are more or fewer parts, or one is no name.
    """
    parts = text.split("/")
    if len(parts) != len(Level) - 1:
        raise BadConfig(f"failure domain {text!r} is not REGION/RACK/NODE (such as {default_domain(NodeId(1)).text})")
    return Domain(*parts)
