"""Feed the kernel's page cache with files that are read at random (dwfs.cache.readaround).

Rules: the kernel is given only bytes that nobody can have changed since they were read: the volume is ours
alone, no descriptor of the file is open for writing, nothing of it is dirty, and its inode is of the revision
that was read. Who is about to change a file calls settle() or stop() first: they return when no feeding of it
is under way, and none begins while it is open for writing, or until it has another revision. The kernel may
wait for a page that a read in progress holds, so it is told from a thread.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from dwd.model.errors import DwError
from dwd.model.ids import InodeNumber, LogIndex
from dwd.model.inode import Inode
from dwfs.cache.coherence import Coherence
from dwfs.cache.dirty import Dirty
from dwfs.cache.readaround import FILE_BYTES_MAX, ReadAround, windows
from dwfs.client import Client
from dwfs.engine.inodes import Inodes
from dwfs.handles import Handles

_WAITING_MAX: Final = 8  # files; more are read as before
_MEMORY_SHARE: Final = 8  # of the machine's memory a file may take at most the eighth part
_STOPPED_MAX: Final = (
    4096  # files remembered as stopped, the oldest forgotten: the kernel has far fewer changes in hand
)

FeedPages = Callable[[InodeNumber, int, bytes | memoryview], Awaitable[None]]


def _file_bytes_max() -> int:
    return min(FILE_BYTES_MAX, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MEMORY_SHARE)


class Feeder:
    """One task, one window at a time."""

    def __init__(
        self,
        client: Client,
        coherence: Coherence,
        inodes: Inodes,
        dirty: Dirty,
        handles: Handles,
        feed_pages: FeedPages,
    ) -> None:
        self._client = client
        self._coherence = coherence
        self._inodes = inodes
        self._dirty = dirty
        self._handles = handles
        self._feed_pages = feed_pages
        self._around = ReadAround(_file_bytes_max())
        self._stopped: dict[InodeNumber, LogIndex] = {}
        self._send, self._receive = trio.open_memory_channel[Inode](_WAITING_MAX)
        self._feeding: InodeNumber | None = None  # the kernel is being told of this one
        self._told = trio.Event()  # replaced after each time
        self.fed_bytes = 0

    async def run(self) -> None:
        """Feed what missed() asks for, until cancelled."""
        async for inode in self._receive:
            try:
                await self._feed(inode)
            except DwError:
                continue  # whoever reads it hears of it

    def missed(self, inode: Inode) -> None:
        """A small read of a file found nothing cached."""
        if self._around.missed(inode.number, inode.changed, inode.size) and self._may_feed(inode):
            try:
                self._send.send_nowait(inode)
            except trio.WouldBlock:
                return

    async def stop(self, inode: Inode) -> None:
        """The file is about to be cut: return when the kernel is told nothing of this revision any more."""
        self._stopped.pop(inode.number, None)
        self._stopped[inode.number] = inode.changed
        if len(self._stopped) > _STOPPED_MAX:
            del self._stopped[next(iter(self._stopped))]
        await self.settle(inode.number)

    async def settle(self, number: InodeNumber) -> None:
        """The file is open for writing from now on: return when the kernel is told nothing of it any more."""
        while self._feeding == number:
            await self._told.wait()

    async def idle(self) -> None:
        """Return when the kernel is not being told of anything."""
        while self._feeding is not None:
            await self._told.wait()

    async def _feed(self, inode: Inode) -> None:
        for offset, length in windows(inode.size):
            if not self._may_feed(inode):
                return
            data = await self._client.read(inode.number, offset, length)
            if len(data) != length or (await self._inodes.get(inode.number)).changed != inode.changed:
                return
            if self._may_feed(inode):
                await self._tell(inode.number, offset, data)

    async def _tell(self, number: InodeNumber, offset: int, data: bytes | memoryview) -> None:
        self._feeding = number
        try:
            await self._feed_pages(number, offset, data)
            self.fed_bytes += len(data)
        finally:
            self._feeding = None
            told, self._told = self._told, trio.Event()
            told.set()

    def _may_feed(self, inode: Inode) -> bool:
        file = self._dirty.get(inode.number)
        return (
            self._coherence.exclusive
            and (file is None or not file.bytes)
            and not self._handles.is_open_for_writing(inode.number)
            and self._handles.is_open(inode.number)
            and self._stopped.get(inode.number) != inode.changed
        )
