"""How many bytes of files fit on a set of bricks: the true figures behind statfs.

Rules: bricks on one device share its room; a brick takes at most one shard of a segment; a reserve on each
device is never counted, so that a full volume can still log the removal of files.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from dwd.model.limits import SEGMENT_BYTES_MAX
from dwd.model.protection import Protection
from dwd.model.units import GIB, KIB

RESERVE_BYTES_MAX: Final = 1 * GIB  # of a device: more would be wasted on a big one
_RESERVE_DIVISOR: Final = 20  # or a twentieth of a small device
_SHARD_OVERHEAD_BYTES: Final = 8 * KIB  # the header page, and rounding to blocks of the file system


class Room(Protocol):
    """What a brick says of its device (ports.BrickSpace)."""

    @property
    def total(self) -> int:
        """Bytes of the device."""

    @property
    def free(self) -> int:
        """Bytes that are free there."""

    @property
    def device(self) -> int:
        """Bricks with the same device share its room."""


@attrs.frozen
class Capacity:
    """Bytes of files, at one protection."""

    total: int
    free: int


def reserve_bytes(device_total: int) -> int:
    """What a device of this size keeps back."""
    return min(device_total // _RESERVE_DIVISOR, RESERVE_BYTES_MAX)


def capacity(bricks: Sequence[Room], protection: Protection) -> Capacity:
    """What the bricks could hold, and what they can still hold, in whole segments.

    With fewer bricks than the protection is wide, the shards that find no brick are counted as not
    placed; with fewer than k, nothing can be stored.
    """
    count = Counter(brick.device for brick in bricks)
    devices = {brick.device: brick for brick in bricks}
    width = min(protection.width, len(bricks))
    if width < protection.k:
        return Capacity(total=0, free=0)
    shard = protection.shard_length(SEGMENT_BYTES_MAX) + _SHARD_OVERHEAD_BYTES
    total, free = {}, {}
    for device, room in devices.items():
        reserve = reserve_bytes(room.total)
        total[device] = max(0, room.total - reserve) // shard
        free[device] = max(0, room.free - reserve) // shard
    return Capacity(
        total=_segments(total, count, width) * SEGMENT_BYTES_MAX,
        free=_segments(free, count, width) * SEGMENT_BYTES_MAX,
    )


def _segments(shards: dict[int, int], bricks: Counter[int], width: int) -> int:
    """The most segments of `width` shards each, when a device has room for so many shards.

    A device takes at most one shard of each segment on each of its bricks. What the devices can take
    of n segments grows slower than n, so the n that fit are a run from zero: bisect for its end.
    """
    low, high = 0, sum(shards.values()) // width
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(room, middle * bricks[device]) for device, room in shards.items()) >= middle * width:
            low = middle
        else:
            high = middle - 1
    return low
