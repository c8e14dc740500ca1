"""Open files: reading, writing, and when bytes must be on their way.

A read is what the daemon has, under what is in flight, under what is dirty. A write only fills memory,
unless the file or the mount is synchronous. Closing sends nothing while the volume is ours alone.
"""

import errno
import os
import stat
import time
from typing import Final

import trio

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode, without_privileges
from dwd.model.limits import FILE_BYTES_MAX
from dwd.namespace.commands import SetAttributes
from dwfs.cache.blocks import BLOCK_BYTES, SMALL_BYTES_MAX, BlockCache
from dwfs.cache.coherence import Coherence
from dwfs.cache.dirty import Dirty
from dwfs.cache.references import References
from dwfs.cache.times import atime_is_due
from dwfs.client import Client
from dwfs.config import MountOptions
from dwfs.engine.feeding import Feeder
from dwfs.engine.flusher import Flusher
from dwfs.engine.inodes import Inodes
from dwfs.engine.orphans import Orphans
from dwfs.handles import FileHandle, Handles
from dwfs.kernel import drop_attributes

_PRIVILEGES: Final = stat.S_ISUID | stat.S_ISGID


class Files:
    """What is done through file handles, and to the bytes of files."""

    def __init__(  # noqa: PLR0913  the engine's parts meet here
        self,
        *,
        client: Client,
        options: MountOptions,
        coherence: Coherence,
        inodes: Inodes,
        dirty: Dirty,
        flusher: Flusher,
        feeder: Feeder,
        orphans: Orphans,
        references: References,
        handles: Handles,
    ) -> None:
        self._client = client
        self._options = options
        self._coherence = coherence
        self._inodes = inodes
        self._dirty = dirty
        self._flusher = flusher
        self._feeder = feeder
        self._orphans = orphans
        self._references = references
        self._handles = handles
        self._blocks = BlockCache()
        self._late_atime = options.atime and not options.read_only

    async def open(self, number: InodeNumber, flags: int, *, privileged: bool) -> int:
        """Open a file."""
        if flags & os.O_TRUNC:
            await self._truncate_at_open(number, privileged=privileged)
        fh = self.opened(number, flags)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            await self._feeder.settle(number)
        return fh

    def opened(self, number: InodeNumber, flags: int) -> int:
        """Count a file that is open from now on."""
        self._references.opened(number)
        return self._handles.open_file(number, flags, durable=self._options.sync)

    def keeps_cache(self) -> bool:
        """Whether the pages that the kernel has of a file are still right when it is opened again."""
        return self._coherence.exclusive

    async def read(self, fh: int, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Bytes of a file; fewer than asked for only at its end."""
        handle = self._handles.file(fh)
        while True:
            landings = self._dirty.landings
            had_some = self._dirty.get(handle.number) is not None
            inode = await self._inodes.get(handle.number)
            if handle.atime_due and self._late_atime:
                handle.atime_due = False
                self._note_atime(inode)
            data = await self._read(inode, offset, size)
            if not had_some or landings == self._dirty.landings:
                return data  # else bytes went from here to the daemon meanwhile: look again

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        """Take bytes into memory, or further if the file is synchronous."""
        handle = self._handles.file(fh)
        self._tell_error(handle)
        inode = await self._inodes.get(handle.number)
        if handle.append and not self._coherence.exclusive:
            offset = self._inodes.shown(inode).size
        if offset + len(data) > FILE_BYTES_MAX:
            raise NamespaceRefusal(errno.EFBIG)
        if inode.mode & _PRIVILEGES and without_privileges(inode.mode) != inode.mode:
            await self._drop_privileges(inode)
        if not self._flusher.has_room(len(data)):
            await self._flusher.make_room(len(data))
        self._dirty.write(
            handle.number,
            offset,
            data,
            now=trio.current_time(),
            mtime=time.time_ns(),
            protection=inode.protection,
        )
        self._flusher.written()
        handle.atime_due = True
        if handle.durable:
            await self._sync(handle)
        elif self._flusher.is_tight():
            await self._flusher.flush_file(handle.number, durable=False)
            self._tell_error(handle)
        return len(data)

    async def flush(self, fh: int) -> None:
        """A descriptor is closed: others must see its bytes; ours alone, they may wait."""
        handle = self._handles.file(fh)
        if not self._coherence.exclusive:
            await self._flusher.flush_file(handle.number, durable=False)
        self._tell_error(handle)

    async def fsync(self, fh: int) -> None:
        """Return once the file, its metadata and its name would survive a power cut."""
        await self._sync(self._handles.file(fh))

    def release(self, fh: int) -> None:
        """The last descriptor of a handle is gone."""
        handle = self._handles.close_file(fh)
        self._orphans.closed(handle.number)

    async def prepare_truncate(self, number: InodeNumber, size: int) -> None:
        """Before a size is set: what is dirty beyond is void, and nothing may land behind our back."""
        await self._feeder.stop(await self._inodes.get(number))
        self._dirty.truncate(number, size)
        await self._flusher.wait_for_flights(number)

    async def prepare_times(self, number: InodeNumber, *, atime: bool, mtime: bool) -> None:
        """Before times are set: late ones are void, and none may land after."""
        self._dirty.settle_times(number, atime=atime, mtime=mtime)
        await self._flusher.wait_for_flights(number)

    async def _truncate_at_open(self, number: InodeNumber, *, privileged: bool) -> None:
        await self.prepare_truncate(number, 0)
        if (await self._inodes.get(number)).size:
            await self.prepare_times(number, atime=False, mtime=True)
            asked = self._inodes.asking()
            done = await self._client.mutate(SetAttributes(number, size=0, privileged=privileged))
            self._inodes.learn(done.inodes, asked)
            return
        self._dirty.touch(number, mtime=time.time_ns())
        self._flusher.written()

    async def _read(self, inode: Inode, offset: int, size: int) -> bytes | bytearray | memoryview:
        file = self._dirty.get(inode.number)
        if file is not None and not file.bytes:
            file = None  # only its times are late
        end = min(offset + size, inode.size if file is None else max(inode.size, file.end))
        if end <= offset:
            return b""
        stored = min(end, inode.size) if inode.allocated else 0  # with nothing allocated, all of it is a hole
        if file is None:
            return await self._read_stored(inode, offset, end - offset) if stored else bytes(end - offset)
        target = bytearray(end - offset)
        if stored > offset and not file.covers(offset, end):
            base = await self._client.read(inode.number, offset, stored - offset)
            target[: len(base)] = base
        file.overlay(target, offset)
        return target

    async def _read_stored(self, inode: Inode, offset: int, length: int) -> bytes | memoryview:
        """Bytes that the daemon has, of a file with nothing dirty; around a small read, what will be asked for next."""
        index = offset // BLOCK_BYTES
        start = index * BLOCK_BYTES
        if not self._coherence.exclusive:
            self._blocks.clear()
        within = length <= SMALL_BYTES_MAX and offset + length <= start + BLOCK_BYTES
        if not (within and self._coherence.exclusive):
            return await self._client.read(inode.number, offset, length)
        block = self._blocks.get(inode.number, index, inode.changed)
        if block is None:
            block = bytes(await self._client.read(inode.number, start, min(BLOCK_BYTES, inode.size - start)))
            self._blocks.put(inode.number, index, inode.changed, block)
            self._feeder.missed(inode)
        return block[offset - start : offset - start + length]

    def _note_atime(self, inode: Inode) -> None:
        shown, now = self._inodes.shown(inode), time.time_ns()
        if atime_is_due(shown.atime, shown.mtime, shown.ctime, now):
            self._dirty.touch(inode.number, atime=now)
            self._flusher.written()

    async def _drop_privileges(self, inode: Inode) -> None:
        """Who writes to a program may not have been meant to run with its rights."""
        mode = without_privileges(inode.mode)
        asked = self._inodes.asking()
        done = await self._client.mutate(SetAttributes(inode.number, mode=stat.S_IMODE(mode)))
        self._inodes.learn(done.inodes, asked)
        await drop_attributes(inode.number)

    async def _sync(self, handle: FileHandle) -> None:
        await self._flusher.flush_file(handle.number, durable=True)
        self._tell_error(handle)

    def _tell_error(self, handle: FileHandle) -> None:
        number = self._handles.take_error(handle)
        if number:
            raise NamespaceRefusal(number, f"bytes of inode {handle.number} could not be stored")
