"""Listing directories: page by page from the daemon, entry by entry to the kernel."""

from collections.abc import Callable

import attrs

from dwd.model.ids import ROOT, InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import DIRECTORY_PAGE_ENTRIES_MAX
from dwd.wire.messages import Barrier, Entries, ReadDirectory
from dwfs.answers import expect
from dwfs.cache.pages import DOT_COOKIE, DOT_DOT_COOKIE, DirectoryPage
from dwfs.cache.references import References
from dwfs.client import Client
from dwfs.engine.inodes import Inodes
from dwfs.handles import DirectoryHandle, Handles


@attrs.frozen
class Listed:
    """One name, as the kernel gets it; the listing goes on behind `cookie`."""

    name: bytes
    cookie: int
    inode: Inode


class Directories:
    """Open directories."""

    def __init__(self, client: Client, inodes: Inodes, references: References, handles: Handles) -> None:
        self._client = client
        self._inodes = inodes
        self._references = references
        self._handles = handles

    def open(self, number: InodeNumber) -> int:
        """Open a directory."""
        self._references.opened(number)
        return self._handles.open_directory(number)

    def close(self, fh: int) -> InodeNumber:
        """Close it; says which it was."""
        return self._handles.close_directory(fh).number

    async def feed(self, fh: int, cookie: int, take: Callable[[Listed], bool]) -> None:
        """Hand over what follows a cookie until `take` has no room, or the directory ends."""
        handle = self._handles.directory(fh)
        if cookie < DOT_DOT_COOKIE:
            for dot in (await self._dots(handle.number))[cookie:]:
                if not take(dot):
                    return
        position: int | None = cookie if cookie > DOT_DOT_COOKIE else 0
        while position is not None:
            page = await self._page(handle, position)
            if not self._hand_over(page, position, take):
                return
            position = page.end

    def _hand_over(self, page: DirectoryPage, position: int, take: Callable[[Listed], bool]) -> bool:
        for entry in page.behind(position):
            inode = self._inodes.shown(self._inodes.newest(entry.inode))
            if not take(Listed(entry.name, entry.cookie, inode)):
                return False
            self._references.looked_up(inode.number)
        return True

    def removed(self, parent: InodeNumber, name: bytes) -> None:
        """A name is gone: pages that were read before must not bring it back."""
        for handle in self._handles.directories_of(parent):
            if handle.page is not None:
                handle.page.remove(name)

    def replaced(self, parent: InodeNumber) -> None:
        """A name leads elsewhere: pages that were read before are void."""
        for handle in self._handles.directories_of(parent):
            handle.page = None

    async def sync(self) -> None:
        """Make all that was done so far durable."""
        await self._client.call(Barrier())

    async def _page(self, handle: DirectoryHandle, position: int) -> DirectoryPage:
        if handle.page is None or position == 0 or not handle.page.holds(position):
            request = ReadDirectory(handle.number, position, DIRECTORY_PAGE_ENTRIES_MAX)
            entries = expect(await self._client.call(request), Entries)
            handle.page = DirectoryPage(position, entries)
            self._inodes.learn(entry.inode for entry in entries.entries)
        return handle.page

    async def _dots(self, number: InodeNumber) -> list[Listed]:
        """The kernel counts no lookup for these."""
        inode = await self._inodes.get(number)
        parent = await self._inodes.get(inode.parent or ROOT)
        return [Listed(b".", DOT_COOKIE, inode), Listed(b"..", DOT_DOT_COOKIE, parent)]
