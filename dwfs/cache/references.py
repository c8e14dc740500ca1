"""Which inodes the kernel knows and applications hold open, and so which orphans must stay alive.

An orphan is an inode whose last name is gone. It may be released once the kernel has forgotten it
and no handle is open; until then it is held, also over a restart of the daemon.
"""

from collections.abc import Iterable

from dwd.model.ids import InodeNumber


class References:
    """Lookup counts, open handles, and orphans."""

    def __init__(self) -> None:
        self._lookups: dict[InodeNumber, int] = {}
        self._opens: dict[InodeNumber, int] = {}
        self._orphans: set[InodeNumber] = set()
        self._free: list[InodeNumber] = []  # orphans that nobody holds any more, not taken yet

    def looked_up(self, number: InodeNumber) -> None:
        """The kernel was told of an inode."""
        self._lookups[number] = self._lookups.get(number, 0) + 1

    def forgotten(self, number: InodeNumber, count: int) -> None:
        """The kernel gives back `count` lookups."""
        left = self._lookups.get(number, 0) - count
        if left > 0:
            self._lookups[number] = left
            return
        self._lookups.pop(number, None)
        self._free_if_unheld(number)

    def opened(self, number: InodeNumber) -> None:
        """A handle was opened."""
        self._opens[number] = self._opens.get(number, 0) + 1

    def closed(self, number: InodeNumber) -> None:
        """A handle was closed."""
        left = self._opens[number] - 1
        if left:
            self._opens[number] = left
            return
        del self._opens[number]
        self._free_if_unheld(number)

    def orphaned(self, numbers: Iterable[InodeNumber]) -> None:
        """These lost their last name."""
        for number in numbers:
            self._orphans.add(number)
            self._free_if_unheld(number)

    def is_open(self, number: InodeNumber) -> bool:
        """Whether a handle is open."""
        return number in self._opens

    def is_orphan(self, number: InodeNumber) -> bool:
        """Whether it has no name."""
        return number in self._orphans

    def open_numbers(self) -> tuple[InodeNumber, ...]:
        """All inodes with an open handle."""
        return tuple(self._opens)

    def holding(self) -> tuple[InodeNumber, ...]:
        """All orphans that must stay alive."""
        return tuple(self._orphans)

    def free_count(self) -> int:
        """How many orphans wait to be released."""
        return len(self._free)

    def take_free(self, count_max: int) -> tuple[InodeNumber, ...]:
        """Orphans that nobody holds any more, to be released."""
        taken, self._free = self._free[:count_max], self._free[count_max:]
        return tuple(taken)

    def _free_if_unheld(self, number: InodeNumber) -> None:
        if number in self._orphans and number not in self._lookups and number not in self._opens:
            self._orphans.discard(number)
            self._free.append(number)
