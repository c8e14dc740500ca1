"""Which file a name led to, for files that may be dirty: a rename sends its source's bytes first."""

from typing import Final

from dwd.model.ids import InodeNumber

NAMES_MAX: Final = 4096  # shed the oldest: the daemon is asked then


class NameCache:
    """Names as this mount last saw them."""

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._names: dict[tuple[InodeNumber, bytes], InodeNumber] = {}
        self._names_max = names_max

    def get(self, parent: InodeNumber, name: bytes) -> InodeNumber | None:
        """The inode under a name, if it is remembered."""
        return self._names.get((parent, name))

    def put(self, parent: InodeNumber, name: bytes, number: InodeNumber) -> None:
        """Remember a name."""
        self._names.pop((parent, name), None)
        self._names[parent, name] = number
        if len(self._names) > self._names_max:
            del self._names[next(iter(self._names))]

    def drop(self, parent: InodeNumber, name: bytes) -> None:
        """The name is free, or leads elsewhere."""
        self._names.pop((parent, name), None)

    def clear(self) -> None:
        """Forget all."""
        self._names.clear()
