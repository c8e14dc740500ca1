"""Listing directories: page by page from the daemon, entry by entry to the kernel."""

from collections.abc import Callable
from typing import TypeAlias

from dwd.model.ids import ROOT, InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import DIRECTORY_PAGE_ENTRIES_MAX
from dwd.wire.messages import Barrier, Entries, ReadDirectory
from dwfs.answers import expect
from dwfs.cache.pages import DOT_COOKIE, DOT_DOT_COOKIE, DirectoryPage
from dwfs.cache.references import References
from dwfs.calls import Call
from dwfs.client import Client
from dwfs.engine.inodes import Inodes
from dwfs.handles import DirectoryHandle, Handles

Take: TypeAlias = Callable[[bytes, Inode, int], bool]  # name, inode, cookie behind it; False: there is no room


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

    async def feed(self, fh: int, cookie: int, take: Take) -> None:
        """Hand over what follows a cookie until `take` has no room, or the directory ends."""
        handle = self._handles.directory(fh)
        if cookie < DOT_DOT_COOKIE:
            for dot in (await self._dots(handle.number))[cookie:]:
                if not take(*dot):
                    return
        position: int | None = cookie if cookie > DOT_DOT_COOKIE else 0
        while position is not None:
            page = await self._page(handle, position)
            if not self._hand_over(page, position, take):
                return
            position = page.end

    def _hand_over(self, page: DirectoryPage, position: int, take: Take) -> bool:
        for entry in page.behind(position):
            inode = self._inodes.shown(self._inodes.newest(entry.inode))
            if not take(entry.name, inode, entry.cookie):
                return False
            self._references.looked_up(inode.number)
        return True

    def removed(self, parent: InodeNumber, name: bytes) -> None:
        """A name is gone: pages that were read before must not bring it back."""
        for handle in self._handles.directories_of(parent):
            handle.ahead = None
            if handle.page is not None:
                handle.page.remove(name)

    def replaced(self, parent: InodeNumber) -> None:
        """A name leads elsewhere: pages that were read before are void."""
        for handle in self._handles.directories_of(parent):
            handle.page = handle.ahead = None

    async def sync(self) -> None:
        """Make all that was done so far durable."""
        await self._client.call(Barrier())

    async def _page(self, handle: DirectoryHandle, position: int) -> DirectoryPage:
        if position == 0:
            handle.page = None
        while handle.forgotten != self._inodes.forgotten or handle.page is None or not handle.page.holds(position):
            if handle.forgotten != self._inodes.forgotten:
                handle.ahead = None  # its inodes may be older than what was known and forgotten
            asked = self._inodes.asking()
            handle.forgotten = asked.forgotten
            call = self._asked(handle, position)
            entries = expect(await self._client.answer_to(call), Entries)
            handle.page = DirectoryPage(position, entries)
            if handle.page.end is not None:  # the daemon reads on while the kernel takes this page
                handle.ahead = self._ask(handle, handle.page.end)
            self._inodes.learn((entry.inode for entry in entries.entries), asked)
        return handle.page

    def _asked(self, handle: DirectoryHandle, position: int) -> Call:
        """What was asked ahead, if that is what is wanted now."""
        ahead, handle.ahead = handle.ahead, None
        wanted = ReadDirectory(handle.number, position, DIRECTORY_PAGE_ENTRIES_MAX)
        return ahead if ahead is not None and ahead.request == wanted else self._client.ask(wanted)

    def _ask(self, handle: DirectoryHandle, position: int) -> Call:
        return self._client.ask(ReadDirectory(handle.number, position, DIRECTORY_PAGE_ENTRIES_MAX))

    async def _dots(self, number: InodeNumber) -> list[tuple[bytes, Inode, int]]:
        """The kernel counts no lookup for these."""
        inode = await self._inodes.get(number)
        parent = await self._inodes.get(inode.parent or ROOT)
        return [(b".", inode, DOT_COOKIE), (b"..", parent, DOT_DOT_COOKIE)]
