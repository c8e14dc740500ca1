"""A page of a directory, kept by an open handle, so that a listing asks the daemon once a page."""

from collections.abc import Iterator

from dwd.namespace.queries import Listed
from dwd.wire.messages import Entries

DOT_COOKIE = 1  # behind "."
DOT_DOT_COOKIE = 2  # behind ".."; names have greater ones


class DirectoryPage:
    """Entries behind one cookie, found again by any cookie within."""

    def __init__(self, start: int, entries: Entries) -> None:
        self._entries = entries.entries
        self._complete = entries.complete
        self._places = {start: 0} | {entry.cookie: place + 1 for place, entry in enumerate(entries.entries)}
        self._removed: set[bytes] = set()

    def holds(self, cookie: int) -> bool:
        """Whether what follows a cookie is here."""
        place = self._places.get(cookie)
        return place is not None and (place < len(self._entries) or self._complete)

    def behind(self, cookie: int) -> Iterator[Listed]:
        """The entries that follow a cookie and are still there."""
        for place in range(self._places[cookie], len(self._entries)):
            if self._entries[place].name not in self._removed:
                yield self._entries[place]

    @property
    def end(self) -> int | None:
        """Where the next page starts; None when this is the last."""
        return None if self._complete or not self._entries else self._entries[-1].cookie

    def remove(self, name: bytes) -> None:
        """A name is gone since the page was read."""
        self._removed.add(name)
