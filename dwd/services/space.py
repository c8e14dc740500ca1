"""How much room there is, and who may still use it.

True figures for statfs, a clean ENOSPC, and a volume that stays deletable when it is full.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

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
        bricks: Mapping[BrickId, Brick],
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
        return Room(figures.free, metadata.free)
