"""What a volume is for, and what it is to survive: five tiers and four levels of availability choose its defaults (D9).

Rules: a Policy is valid. What a user says goes before what a tier says. An availability names the failure domain,
and leaves the protection alone.
"""

from enum import StrEnum
from typing import Final, TypeVar

import attrs

from dwd.model.errors import BadConfig
from dwd.model.limits import SHARDS_MAX
from dwd.model.protection import Protection
from dwd.model.topology import Level

SCRUB_DAYS_DEFAULT: Final = 14
SCRUB_DAYS_MAX: Final = 3650  # refuse: whoever wants no scrub at all has misunderstood it


class Tier(StrEnum):
    """Who uses the volume, and for what."""

    INDIVIDUAL = "individual"
    SMB = "smb"
    ENTERPRISE = "enterprise"
    HIGH_STAKES = "high-stakes"
    HYPERSCALE = "hyperscale"


class Availability(StrEnum):
    """The largest thing that may fail while files go on being read and written."""

    SINGLE = "single"  # a brick
    REDUNDANT = "redundant"  # a node
    GEO_REDUNDANT = "geo-redundant"  # a rack, and another region has a copy
    GLOBAL = "global"  # a region


@attrs.frozen
class Policy:
    """What a volume does when nothing else was said of a file or a brick."""

    protection: Protection
    level: Level  # shards of a segment are spread over failure domains of this level
    scrub_days: int = SCRUB_DAYS_DEFAULT  # in which everything is read once
    metadata_mirrors: int | None = None  # None: m + 1

    def __attrs_post_init__(self) -> None:
        """Raises BadConfig: a number is out of range."""
        _check_range("scrub_days", self.scrub_days, SCRUB_DAYS_MAX)
        if self.metadata_mirrors is not None:
            _check_range("metadata_mirrors", self.metadata_mirrors, SHARDS_MAX)


def _check_range(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise BadConfig(f"{name} = {value}: it must be between 1 and {most}")


_TIERS: Final = {
    Tier.INDIVIDUAL: Policy(Protection(4, 2), Level.BRICK),
    Tier.SMB: Policy(Protection(6, 3), Level.BRICK),
    Tier.ENTERPRISE: Policy(Protection(8, 4), Level.NODE),
    Tier.HIGH_STAKES: Policy(Protection(8, 4), Level.NODE, scrub_days=7),
    Tier.HYPERSCALE: Policy(Protection(16, 4), Level.RACK),
}
_LEVELS: Final = {
    Availability.SINGLE: Level.BRICK,
    Availability.REDUNDANT: Level.NODE,
    Availability.GEO_REDUNDANT: Level.RACK,
    Availability.GLOBAL: Level.REGION,
}
_Word = TypeVar("_Word", Tier, Availability)


def parse_tier(text: str) -> Tier:
    """Read a tier's name, in any case. Raises BadConfig."""
    return _word(Tier, "tier", text)


def parse_availability(text: str) -> Availability:
    """Read the name of an availability level, in any case. Raises BadConfig."""
    return _word(Availability, "availability", text)


def choose_policy(
    tier: Tier = Tier.INDIVIDUAL,
    availability: Availability | None = None,
    *,
    protection: Protection | None = None,
    level: Level | None = None,
    scrub_days: int | None = None,
    metadata_mirrors: int | None = None,
) -> Policy:
    """What was said, and for what was not, what the tier and the availability mean.

    Raises:
        BadConfig: a number is out of range.
    """
    policy = _TIERS[tier]
    return Policy(
        protection=policy.protection if protection is None else protection,
        level=level or (policy.level if availability is None else _LEVELS[availability]),
        scrub_days=policy.scrub_days if scrub_days is None else scrub_days,
        metadata_mirrors=policy.metadata_mirrors if metadata_mirrors is None else metadata_mirrors,
    )


def _word(kind: type[_Word], what: str, text: str) -> _Word:
    wanted = text.strip().lower().replace("_", "-").replace(" ", "-")
    for word in kind:
        if wanted in {word.value, word.value.replace("-", "")}:
            return word
    raise BadConfig(f"{what} {text!r} is none of {', '.join(kind)}")
