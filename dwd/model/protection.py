"""How many pieces a segment is cut into, how many of them may be lost (D9), and what that asks of the bricks.

Rules: a mode is its k and m; RAID6, RAIDZ3 and ReedSolomon are spellings of them. A failure domain may hold at
most m shards of a segment, or its loss would lose the segment.
"""

import re
from typing import Final

import msgspec

from dwd.model.errors import BadConfig
from dwd.model.limits import SHARDS_MAX
from dwd.model.units import div_ceil, round_up

_SHARD_ALIGNMENT: Final = 64  # bytes; what ISA-L's vector loops like
_NAMED: Final = {"none": (1, 0), "raid6": (4, 2), "raidz3": (5, 3)}
_PROFILE: Final = re.compile(
    r"(?P<k>\d{1,2})\+(?P<m>\d{1,2})|(?P<family>reedsolomon|raid6|raidz3)\((?P<fk>\d{1,2})\+(?P<fm>\d{1,2})\)",
    re.IGNORECASE | re.ASCII,
)
_REPLICAS: Final = re.compile(r"replica(\d{1,2})", re.IGNORECASE | re.ASCII)
_FAMILY_M: Final = {"raid6": 2, "raidz3": 3}  # what the name promises


class Protection(msgspec.Struct, frozen=True, array_like=True):
    """k data shards and m parity shards; with k = 1 the parity shards are plain copies."""

    k: int
    m: int

    @property
    def width(self) -> int:
        """Shards, and so bricks, of a segment."""
        return self.k + self.m

    @property
    def name(self) -> str:
        """The spelling that parse_protection reads back."""
        if self.k == 1:
            return "None" if self.m == 0 else f"Replica{self.m + 1}"
        return f"{self.k}+{self.m}"

    @property
    def overhead(self) -> float:
        """Bytes on bricks for each byte of data."""
        return self.width / self.k

    @property
    def least_bricks(self) -> int:
        """Bricks that a segment needs at full width."""
        return self.width

    @property
    def least_domains(self) -> int:
        """Failure domains that it takes to survive the loss of any one of them."""
        return div_ceil(self.width, self.m) if self.m else 1

    def shard_length(self, segment_length: int) -> int:
        """Bytes of each shard's body: the segment's k-th part, rounded up and padded with zeros."""
        return round_up(div_ceil(segment_length, self.k), _SHARD_ALIGNMENT)


NO_PROTECTION: Final = Protection(1, 0)
PROFILES: Final = (
    NO_PROTECTION,
    Protection(1, 1),
    Protection(1, 2),
    Protection(4, 2),
    Protection(6, 3),
    Protection(8, 4),
    Protection(10, 2),
    Protection(16, 4),
    Protection(6, 2),  # RAID6 over eight bricks
    Protection(5, 3),  # RAIDZ3 over eight bricks
)


def parse_protection(text: str) -> Protection:
    """Read None, Replica2 (or 3, or more), RAID6, RAIDZ3, k+m, or ReedSolomon, RAID6 or RAIDZ3 with (k+m), in any case.

    Raises:
        BadConfig: another word, or k and m out of range.
    """
    named = _NAMED.get(text.strip().lower())
    if named is not None:
        return Protection(*named)
    copies, profile = _REPLICAS.fullmatch(text.strip()), _PROFILE.fullmatch(text.strip())
    if copies is not None:
        k, m = 1, int(copies[1]) - 1
    elif profile is not None:
        k, m = int(profile["k"] or profile["fk"]), int(profile["m"] or profile["fm"])
        _check_family(text, profile["family"], m)
    else:
        raise BadConfig(f"protection {text!r} is not None, Replica2, Replica3, RAID6, RAIDZ3 or k+m (such as 4+2)")
    if not (m >= 0 and k >= 1 and k + m <= SHARDS_MAX):
        raise BadConfig(f"protection {text!r}: k must be at least 1 and k+m at most {SHARDS_MAX}")
    return Protection(k, m)


def _check_family(text: str, family: str | None, m: int) -> None:
    promised = _FAMILY_M.get((family or "").lower(), m)
    if m != promised:
        raise BadConfig(f"protection {text!r}: {family} has {promised} parity shards, not {m}")


def check_fits(protection: Protection, bricks: int, domains: int | None = None) -> None:
    """See that a mode can be had on so many bricks in so many failure domains (None: each brick is one).

    Raises:
        BadConfig: it cannot; the text names what is missing.
    """
    domains = bricks if domains is None else domains
    missing = []
    if bricks < protection.least_bricks:
        missing.append(f"{protection.least_bricks} bricks, and there are {bricks}")
    if domains < protection.least_domains:
        missing.append(f"{protection.least_domains} failure domains, and there are {domains}")
    if missing:
        raise BadConfig(f"protection {protection.name} needs {' and '.join(missing)}; add bricks or choose another")


def fitting(wanted: Protection, bricks: int, domains: int | None = None) -> Protection:
    """The wanted mode if it fits, else the strongest that does: m is kept as long as possible, then k.

    A single failure domain is lost with everything in it, whatever the mode: its bricks are then counted as
    domains, since losing some of them is all that can be survived.

    Raises:
        BadConfig: there is no brick.
    """
    if bricks < 1:
        raise BadConfig(f"protection {wanted.name} needs {wanted.least_bricks} bricks, and there are none")
    domains = bricks if domains is None or domains <= 1 else min(domains, bricks)
    m = min(wanted.m, bricks - 1)
    width = min(bricks, m * domains) if m else bricks
    return Protection(min(wanted.k, width - m), m)
