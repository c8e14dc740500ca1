"""How many pieces a segment is cut into, and how many of them may be lost (D9)."""

import re
from typing import Final

import msgspec

from dwd.model.errors import BadConfig
from dwd.model.limits import SHARDS_MAX
from dwd.model.units import div_ceil, round_up

_SHARD_ALIGNMENT: Final = 64  # bytes; what ISA-L's vector loops like
_NAMED: Final = {"none": (1, 0), "raid6": (4, 2), "raidz3": (5, 3)}
_PROFILE: Final = re.compile(r"(\d{1,2})\+(\d{1,2})|reedsolomon\((\d{1,2})\+(\d{1,2})\)", re.IGNORECASE | re.ASCII)
_REPLICAS: Final = re.compile(r"replica(\d{1,2})", re.IGNORECASE | re.ASCII)


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

    def shard_length(self, segment_length: int) -> int:
        """Bytes of each shard's body: the segment's k-th part, rounded up and padded with zeros."""
        return round_up(div_ceil(segment_length, self.k), _SHARD_ALIGNMENT)


def parse_protection(text: str) -> Protection:
    """Read None, Replica2 (or 3, or more), RAID6, RAIDZ3, k+m or ReedSolomon(k+m), in any case.

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
        k, m = int(profile[1] or profile[3]), int(profile[2] or profile[4])
    else:
        raise BadConfig(f"protection {text!r} is not None, Replica2, Replica3, RAID6, RAIDZ3 or k+m (such as 4+2)")
    if not (m >= 0 and k >= 1 and k + m <= SHARDS_MAX):
        raise BadConfig(f"protection {text!r}: k must be at least 1 and k+m at most {SHARDS_MAX}")
    return Protection(k, m)
