"""What the namespace keeps its state in: an ordered map. Memory and disk both serve (D3)."""

from collections.abc import Iterator
from typing import Protocol


class Store(Protocol):
    """An ordered map of bytes to bytes: what the namespace keeps its state in (D3)."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value."""

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no error."""

    def range(self, start: bytes, end: bytes, limit: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, at most `limit` of them (0: all).

        The store may be changed while the iterator is open; it then shows each row as it was or is.
        It reads ahead by some hundreds of rows at most. Abandoned, it costs nothing: begin again at the
        last key seen with a zero byte behind it.
        """

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The row with the greatest key in [start, end), or None."""
