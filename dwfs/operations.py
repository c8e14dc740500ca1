"""The pyfuse3 edge: unpack, call the engine, pack. No policy.

The kernel checks permissions (default_permissions), so nothing here does; `access` is never asked.
"""
# ruff: noqa: ARG002  the signatures are pyfuse3's

import errno
import stat
from collections.abc import Sequence
from typing import Final, cast

import pyfuse3
import trio

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import NAME_BYTES_MAX
from dwd.model.units import KIB
from dwd.namespace.commands import MakeNode, Rename, SetAttributes
from dwfs.cache.coherence import Coherence
from dwfs.engine.directories import Directories
from dwfs.engine.files import Files
from dwfs.engine.namespace import Namespace
from dwfs.engine.orphans import Orphans
from dwfs.errno_map import answering

_BLOCK_BYTES: Final = 4 * KIB  # of statfs
_PREFERRED_BYTES: Final = 512 * KIB  # st_blksize: what cp reads and writes at a time
_ALL_PERMISSIONS: Final = 0o777  # of a symbolic link
_RENAME_FLAGS: Final = pyfuse3.RENAME_EXCHANGE | pyfuse3.RENAME_NOREPLACE

_TIME_MIN: Final = -(1 << 63)
_TIME_MAX: Final = (1 << 63) - 1


class Operations(pyfuse3.Operations):
    """What the kernel asks, passed on."""

    supports_dot_lookup = True
    enable_writeback_cache = False
    enable_acl = True

    def __init__(
        self, namespace: Namespace, files: Files, directories: Directories, orphans: Orphans, coherence: Coherence
    ) -> None:
        super().__init__()
        self._namespace = namespace
        self._files = files
        self._directories = directories
        self._orphans = orphans
        self._coherence = coherence
        self.initialized = trio.Event()

    def init(self) -> None:
        """The kernel has said hello."""
        self.initialized.set()

    @answering
    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """The inode under a name; a name that is absent is cached as such, by inode number 0."""
        inode = await self._namespace.lookup(InodeNumber(parent_inode), name)
        return self._absent() if inode is None else self._packed(inode)

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        """The kernel drops inodes."""
        self._orphans.forgotten((InodeNumber(number), count) for number, count in inode_list)

    @answering
    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes."""
        return self._packed(await self._namespace.attributes(InodeNumber(inode)))

    @answering
    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """chmod, chown, truncate, utimens."""
        change = SetAttributes(
            number=InodeNumber(inode),
            mode=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime=_storable(attr.st_atime_ns) if fields.update_atime else None,
            mtime=_storable(attr.st_mtime_ns) if fields.update_mtime else None,
            privileged=ctx.uid == 0,
        )
        return self._packed(await self._namespace.set_attributes(change))

    @answering
    async def readlink(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileNameT:
        """The target of a symbolic link."""
        return await self._namespace.target(InodeNumber(inode))

    @answering
    async def mknod(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        mode: pyfuse3.ModeT,
        rdev: int,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """A regular file, device, fifo or socket."""
        return self._packed(await self._namespace.make(_node(parent_inode, name, mode, ctx, device=rdev)))

    @answering
    async def mkdir(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        mode: pyfuse3.ModeT,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """A directory."""
        return self._packed(await self._namespace.make(_node(parent_inode, name, mode, ctx)))

    @answering
    async def symlink(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        target: pyfuse3.FileNameT,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """A symbolic link."""
        node = _node(parent_inode, name, stat.S_IFLNK | _ALL_PERMISSIONS, ctx, target=target)
        return self._packed(await self._namespace.make(node))

    @answering
    async def unlink(self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext) -> None:
        """Remove a name."""
        await self._namespace.unlink(InodeNumber(parent_inode), name)

    @answering
    async def rmdir(self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext) -> None:
        """Remove a directory."""
        await self._namespace.remove_directory(InodeNumber(parent_inode), name)

    @answering
    async def rename(
        self,
        parent_inode_old: pyfuse3.InodeT,
        name_old: pyfuse3.FileNameT,
        parent_inode_new: pyfuse3.InodeT,
        name_new: pyfuse3.FileNameT,
        flags: pyfuse3.FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """Move a name, or swap two."""
        if flags & ~_RENAME_FLAGS or flags == _RENAME_FLAGS:
            raise NamespaceRefusal(errno.EINVAL)
        move = Rename(
            InodeNumber(parent_inode_old),
            name_old,
            InodeNumber(parent_inode_new),
            name_new,
            replace=not flags & pyfuse3.RENAME_NOREPLACE,
            exchange=bool(flags & pyfuse3.RENAME_EXCHANGE),
        )
        await self._namespace.rename(move)

    @answering
    async def link(
        self,
        inode: pyfuse3.InodeT,
        new_parent_inode: pyfuse3.InodeT,
        new_name: pyfuse3.FileNameT,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """Another name for a file."""
        return self._packed(await self._namespace.link(InodeNumber(inode), InodeNumber(new_parent_inode), new_name))

    @answering
    async def create(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        mode: pyfuse3.ModeT,
        flags: pyfuse3.FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Create a file and open it."""
        made = await self._namespace.make(_node(parent_inode, name, stat.S_IFREG | stat.S_IMODE(mode), ctx))
        return self._file_info(self._files.opened(made.number, flags)), self._packed(made)

    @answering
    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file."""
        return self._file_info(await self._files.open(InodeNumber(inode), flags, privileged=ctx.uid == 0))

    @answering
    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        """Bytes; pyfuse3 takes any buffer, whatever its stubs say."""
        return cast("bytes", await self._files.read(fh, off, size))

    @answering
    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        """Take bytes."""
        return await self._files.write(fh, off, buf)

    @answering
    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        """A descriptor is closed."""
        await self._files.flush(fh)

    @answering
    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:  # noqa: FBT001  pyfuse3's signature
        """Make a file durable."""
        await self._files.fsync(fh)

    @answering
    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        """A handle is closed."""
        self._files.release(fh)

    @answering
    async def opendir(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        """Open a directory."""
        return self._directories.open(InodeNumber(inode))

    @answering
    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Entries with their attributes, as many as fit."""
        lifetime = self._coherence.lifetime(trio.current_time())

        entry = _entry(lifetime)  # one for all: pyfuse3 copies it

        def take(name: bytes, shown: Inode, cookie: int) -> bool:
            _fill(entry, shown)
            return pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), entry, cookie)

        await self._directories.feed(fh, start_id, take)

    @answering
    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        """Close a directory."""
        self._orphans.closed(self._directories.close(fh))

    @answering
    async def fsyncdir(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:  # noqa: FBT001  pyfuse3's signature
        """Make names durable."""
        await self._directories.sync()

    @answering
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Room and files."""
        space = await self._namespace.space()
        room = space.available // _BLOCK_BYTES
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = _BLOCK_BYTES
        data.f_blocks = space.total // _BLOCK_BYTES
        data.f_bfree = data.f_bavail = room
        data.f_files = space.inodes + room  # as many more as there are blocks
        data.f_ffree = data.f_favail = room
        data.f_namemax = NAME_BYTES_MAX
        return data

    @answering
    async def getxattr(self, inode: pyfuse3.InodeT, name: pyfuse3.XAttrNameT, ctx: pyfuse3.RequestContext) -> bytes:
        """The value of an extended attribute."""
        return await self._namespace.xattr(InodeNumber(inode), name)

    @answering
    async def listxattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> Sequence[pyfuse3.XAttrNameT]:
        """The names of the extended attributes."""
        return await self._namespace.xattrs(InodeNumber(inode), privileged=ctx.uid == 0)

    @answering
    async def setxattr(
        self, inode: pyfuse3.InodeT, name: pyfuse3.XAttrNameT, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """Set an extended attribute; pyfuse3 has looked at XATTR_CREATE and XATTR_REPLACE."""
        await self._namespace.set_xattr(InodeNumber(inode), name, value)

    @answering
    async def removexattr(self, inode: pyfuse3.InodeT, name: pyfuse3.XAttrNameT, ctx: pyfuse3.RequestContext) -> None:
        """Remove an extended attribute."""
        await self._namespace.remove_xattr(InodeNumber(inode), name)

    def _packed(self, inode: Inode) -> pyfuse3.EntryAttributes:
        return _pack(inode, self._coherence.lifetime(trio.current_time()))

    def _absent(self) -> pyfuse3.EntryAttributes:
        lifetime = self._coherence.lifetime(trio.current_time())
        if not lifetime:
            raise NamespaceRefusal(errno.ENOENT)
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(0)
        entry.entry_timeout = entry.attr_timeout = lifetime
        return entry

    def _file_info(self, fh: int) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(fh), keep_cache=self._files.keeps_cache())


def _pack(inode: Inode, lifetime: float) -> pyfuse3.EntryAttributes:
    entry = _entry(lifetime)
    _fill(entry, inode)
    return entry


def _entry(lifetime: float) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.entry_timeout = entry.attr_timeout = lifetime
    entry.st_blksize = _PREFERRED_BYTES
    return entry


def _fill(entry: pyfuse3.EntryAttributes, inode: Inode) -> None:
    entry.st_ino = inode.number
    entry.st_mode = inode.mode
    entry.st_nlink = inode.links
    entry.st_uid = inode.uid
    entry.st_gid = inode.gid
    entry.st_rdev = inode.device
    entry.st_size = inode.size
    entry.st_blocks = inode.stat_blocks
    entry.st_atime_ns = inode.atime
    entry.st_mtime_ns = inode.mtime
    entry.st_ctime_ns = inode.ctime


def _storable(time: int) -> int:
    """The nearest time that a volume holds: from 1677 to 2262. Other file systems cut likewise."""
    return max(_TIME_MIN, min(time, _TIME_MAX))


def _node(
    parent: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext, *, device: int = 0, target: bytes = b""
) -> MakeNode:
    """The daemon chooses the number."""
    return MakeNode(InodeNumber(parent), name, InodeNumber(0), mode, ctx.uid, ctx.gid, device, target)
