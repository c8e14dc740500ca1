"""Inodes as the daemon last told them: bounded, least recently used goes first, newer ones win."""

from collections.abc import Iterable
from typing import Final

from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode

INODES_MAX: Final = 65_536  # shed the least recently used: about 30 MiB


class InodeCache:
    """`changed` orders what is known of an inode, so answers may come in any order."""

    def __init__(self, inodes_max: int = INODES_MAX) -> None:
        self._inodes: dict[InodeNumber, Inode] = {}
        self._inodes_max = inodes_max

    def __len__(self) -> int:
        """How many are known."""
        return len(self._inodes)

    def get(self, number: InodeNumber) -> Inode | None:
        """What is known of an inode; it is now the most recently used."""
        inode = self._inodes.pop(number, None)
        if inode is not None:
            self._inodes[number] = inode
        return inode

    def put(self, inode: Inode) -> None:
        """Learn an inode, unless a newer one is known."""
        known = self._inodes.pop(inode.number, None)
        self._inodes[inode.number] = inode if known is None or known.changed <= inode.changed else known
        if len(self._inodes) > self._inodes_max:
            del self._inodes[next(iter(self._inodes))]

    def put_all(self, inodes: Iterable[Inode]) -> None:
        """Learn several."""
        for inode in inodes:
            self.put(inode)

    def drop(self, number: InodeNumber) -> None:
        """Forget one."""
        self._inodes.pop(number, None)

    def clear(self) -> None:
        """Forget all."""
        self._inodes.clear()
