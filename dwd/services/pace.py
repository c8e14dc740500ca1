"""How long background work will take: its bytes at the rate that it may have, or had, or has on such disks."""

from typing import Final, Literal

import attrs

from dwd.model.units import MIB
from dwd.services.healing import Healer
from dwd.services.pacing import Pacer

_READ_FOR_WRITTEN: Final = 2  # at least: a copy reads what it writes, a computed shard reads k times that
_ASSUMED: Final = 100 * MIB  # read and written each second, where nothing is bounded and nothing was measured


@attrs.frozen
class Rate:
    """Bytes that are read and written each second, and how that is known."""

    bytes_per_s: float
    source: Literal["budget", "measured", "assumed"]

    def seconds(self, touched: int) -> float:
        """For so many bytes read and written."""
        return touched / self.bytes_per_s


def rate(pacer: Pacer, healer: Healer) -> Rate:
    """The rate that an estimate is made with."""
    budget = pacer.status().bytes_per_s
    if budget:
        return Rate(budget, "budget")
    healing = healer.status()
    if healing.bytes_left and healing.bytes_per_s:
        return Rate(_READ_FOR_WRITTEN * healing.bytes_per_s, "measured")
    return Rate(float(_ASSUMED), "assumed")
