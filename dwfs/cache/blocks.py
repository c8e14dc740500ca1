"""Blocks of files around what was read, in bounded memory: small reads come in company.

A block is bound to the log index of its inode's last change (DESIGN D3), so it is never stale: bytes that
landed since, here or by a truncate, gave the inode another index.
"""

from typing import Final

from dwd.model.ids import InodeNumber, LogIndex
from dwd.model.units import KIB, MIB

BLOCK_BYTES: Final = 64 * KIB  # fetched for a small read; four times the least that the daemon verifies
SMALL_BYTES_MAX: Final = 32 * KIB  # a larger read fetches what it asks for and no more
CACHE_BYTES_MAX: Final = 96 * MIB  # shed the least recently used; beside 64 MiB of dirty data


class BlockCache:
    """The blocks, least recently used first."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._blocks: dict[tuple[InodeNumber, int], tuple[LogIndex, bytes]] = {}
        self._held = 0
        self._bytes_max = bytes_max

    @property
    def held_bytes(self) -> int:
        """What is held."""
        return self._held

    def get(self, number: InodeNumber, index: int, changed: LogIndex) -> bytes | None:
        """A block of an inode as it is since its last change."""
        found = self._blocks.pop((number, index), None)
        if found is None:
            return None
        if found[0] != changed:
            self._held -= len(found[1])
            return None
        self._blocks[number, index] = found
        return found[1]

    def put(self, number: InodeNumber, index: int, changed: LogIndex, data: bytes) -> None:
        """Keep a block that was read when the inode's last change was at `changed`, or later."""
        old = self._blocks.pop((number, index), None)
        self._held += len(data) - (0 if old is None else len(old[1]))
        self._blocks[number, index] = (changed, data)
        while self._held > self._bytes_max:
            _, shed = self._blocks.pop(next(iter(self._blocks)))
            self._held -= len(shed)

    def clear(self) -> None:
        """Forget all."""
        self._blocks.clear()
        self._held = 0
