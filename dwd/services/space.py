"""How much room there is, and who may still use it.

True figures for statfs, a clean ENOSPC, and a volume that stays deletable when it is full.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from dwd.model.errors import NoSpace
from dwd.model.protection import Protection
from dwd.model.units import MIB
from dwd.placement.capacity import capacity
from dwd.placement.rendezvous import Chooser
from dwd.ports import BrickSpace
from dwd.services.bricks import Bricks

# On the device of DATA: the next WAL files, the store's growth and a compaction must fit even when files may
# not grow any more, or nothing could be deleted.
METADATA_RESERVE_BYTES = 48 * MIB
_METADATA_FLOOR_BYTES = 20 * MIB  # below this nothing new is named; removing goes on
_FLUSH_COST = 3  # times what is pending: in the log, in the store's own log, and in the store
_FRESH_S = 0.1


@attrs.frozen
class Room:
    """Bytes of file data at the volume's protection, and what metadata has."""

    available: int
    metadata_free: int


class SpaceKeeper:
    """Watches the devices of bricks and metadata."""

    def __init__(
        self,
        bricks: Bricks,
        protection: Protection,
        metadata_space: Callable[[], BrickSpace],
        pending_bytes: Callable[[], int],
    ) -> None:
        self._bricks = bricks
        self._protection = protection
        self._metadata_space = metadata_space
        self._pending_bytes = pending_bytes
        self._room = Room(0, 0)
        self._measured = float("-inf")
        self._being_stored = 0
        self._stored_since = 0  # the figures were measured

    def room(self) -> Room:
        """The figures, at most a tenth of a second old."""
        now = trio.current_time()
        if now - self._measured > _FRESH_S:
            self._room = self._measure()
            self._measured = now
            self._stored_since = 0
        return self._room

    def forget(self) -> None:
        """Measure afresh at the next question: something was freed."""
        self._measured = float("-inf")

    @contextmanager
    def room_for(self, length: int) -> Iterator[None]:
        """Claim room for so many bytes of file data while they are stored. Raises NoSpace."""
        available = max(0, self.room().available - self._being_stored - self._stored_since)
        if length > available:
            raise NoSpace(
                f"{length} bytes do not fit: the bricks have room for {available} more; delete files or add a brick"
            )
        self._being_stored += length
        try:
            yield
        finally:
            self._being_stored -= length
            self._stored_since += length

    def check_metadata(self) -> None:
        """May something new be named? Raises NoSpace."""
        free = self.room().metadata_free
        if free < _METADATA_FLOOR_BYTES + _FLUSH_COST * self._pending_bytes():
            raise NoSpace(f"the device of the data folder has {free} bytes left, which removing needs; free some there")

    def _measure(self) -> Room:
        """What fits at the strongest protection that the bricks with room allow now, which is what write() takes."""
        metadata = self._metadata_space()
        self._bricks.keep_back(metadata.device, METADATA_RESERVE_BYTES)
        rooms = self._bricks.measure()
        takers = [candidate for candidate in self._bricks.writable() if candidate.brick in rooms]
        if not takers:
            return Room(0, metadata.free)
        fitting = Chooser(takers).fitting(self._protection)
        return Room(capacity([rooms[taker.brick] for taker in takers], fitting).free, metadata.free)
