"""The rows read last from a slower place, absences too, within a budget of bytes.

At the bound the row that was used least recently is shed. The owner keeps it true: whoever changes a
row discards it here.
"""

from collections import OrderedDict
from typing import Final

_ROW_BYTES: Final = 220  # what CPython takes for a row beyond its bytes: two objects and a place in the map (measured)


class RowCache:
    """Keys to values, or to None for "there is none"."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._used = 0
        self._rows: OrderedDict[bytes, bytes | None] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def bytes_used(self) -> int:
        """Memory that the rows take, by the same estimate that the budget is held to."""
        return self._used

    def recall(self, key: bytes) -> bytes | None:
        """The value of a key that is in here; it becomes the most recently used."""
        self._rows.move_to_end(key)
        return self._rows[key]

    def remember(self, key: bytes, value: bytes | None) -> None:
        """Take in a row that is not in here, and shed others until the budget holds."""
        self._rows[key] = value
        self._used += _cost(key, value)
        while self._used > self._bytes_max:
            self._used -= _cost(*self._rows.popitem(last=False))

    def discard(self, key: bytes) -> None:
        """Forget a row, if it is in here."""
        if key in self._rows:
            self._used -= _cost(key, self._rows.pop(key))


def _cost(key: bytes, value: bytes | None) -> int:
    return _ROW_BYTES + len(key) + (len(value) if value is not None else 0)
