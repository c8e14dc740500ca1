"""How much room there is, and who may still use it.

True figures for statfs, a clean ENOSPC, and a volume that stays deletable when it is full.
"""

from collections.abc import Callable, Mapping

import attrs
import trio

from dwd.model.errors import BrickFault, NoSpace
from dwd.model.ids import BrickId
from dwd.model.protection import Protection
from dwd.model.units import MIB
from dwd.placement.capacity import Capacity, capacity
from dwd.ports import Brick, BrickSpace

# On the device of DATA: the next WAL files, the store's growth and a compaction must fit even when files may
# not grow any more, or nothing could be deleted.
METADATA_RESERVE_BYTES = 48 * MIB
_METADATA_FLOOR_BYTES = 20 * MIB  # below this nothing new is named; removing goes on
_FRESH_S = 0.1


@attrs.frozen
class Room:
    """Bytes of file data at the volume's protection, and what metadata has."""

    total: int
    available: int
    metadata_free: int


class SpaceKeeper:
    """Watches the devices of bricks and metadata."""

    def __init__(
        self, bricks: Mapping[BrickId, Brick], protection: Protection, metadata_space: Callable[[], BrickSpace]
    ) -> None:
        self._bricks = bricks
        self._protection = protection
        self._metadata_space = metadata_space
        self._room = Room(0, 0, 0)
        self._measured = float("-inf")

    def room(self) -> Room:
        """The figures, at most a tenth of a second old."""
        now = trio.current_time()
        if now - self._measured > _FRESH_S:
            self._room = self._measure()
            self._measured = now
        return self._room

    def forget(self) -> None:
        """Measure afresh at the next question: something was freed."""
        self._measured = float("-inf")

    def check_data(self, length: int) -> None:
        """May this many bytes of file data be stored? Raises NoSpace."""
        room = self.room()
        if length > room.available:
            raise NoSpace(
                f"{length} bytes do not fit: the bricks have room for {room.available} more; delete or add a brick"
            )

    def check_metadata(self) -> None:
        """May something new be named? Raises NoSpace."""
        room = self.room()
        if room.metadata_free < _METADATA_FLOOR_BYTES:
            raise NoSpace(f"the device of the data folder has {room.metadata_free} bytes left; free some there")

    def _measure(self) -> Room:
        metadata = self._metadata_space()
        spaces = []
        for brick in self._bricks.values():
            try:
                space = brick.space()
            except BrickFault:
                continue
            if space.device == metadata.device:
                space = attrs.evolve(space, free=max(0, space.free - METADATA_RESERVE_BYTES))
            spaces.append(space)
        figures: Capacity = capacity(spaces, self._protection)
        return Room(figures.total, figures.free, metadata.free)
