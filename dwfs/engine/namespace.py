"""Names and attributes: what is asked of the daemon, and what is learnt from its answers."""

import errno
from typing import Final

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import NAME_BYTES_MAX
from dwd.namespace.commands import (
    Link,
    MakeNode,
    RemoveDirectory,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetXattr,
    Unlink,
)
from dwd.namespace.outcomes import Done
from dwd.wire.messages import Barrier, Found, GetXattr, ListXattrs, Lookup, Names, Space, Value, VolumeSpace
from dwfs.answers import expect
from dwfs.cache.dirty import Dirty
from dwfs.cache.names import NameCache
from dwfs.cache.references import References
from dwfs.client import Client, NamespaceOperation
from dwfs.config import MountOptions
from dwfs.engine.directories import Directories
from dwfs.engine.files import Files
from dwfs.engine.flusher import Flusher
from dwfs.engine.inodes import Inodes
from dwfs.engine.orphans import Orphans

_XATTR_PREFIXES: Final = (b"user.", b"trusted.", b"security.")
_ACLS: Final = frozenset({b"system.posix_acl_access", b"system.posix_acl_default"})
_TRUSTED: Final = b"trusted."


class Namespace:
    """Everything that is done to names, attributes and extended attributes."""

    def __init__(  # noqa: PLR0913  the engine's parts meet here
        self,
        *,
        client: Client,
        options: MountOptions,
        inodes: Inodes,
        names: NameCache,
        dirty: Dirty,
        flusher: Flusher,
        orphans: Orphans,
        references: References,
        files: Files,
        directories: Directories,
    ) -> None:
        self._client = client
        self._options = options
        self._inodes = inodes
        self._names = names
        self._dirty = dirty
        self._flusher = flusher
        self._orphans = orphans
        self._references = references
        self._files = files
        self._directories = directories

    async def lookup(self, parent: InodeNumber, name: bytes) -> Inode | None:
        """The inode under a name, or None. What is found the kernel knows from now on."""
        inode = await self._find(parent, name)
        if inode is None:
            return None
        self._references.looked_up(inode.number)
        return self._inodes.shown(inode)

    async def attributes(self, number: InodeNumber) -> Inode:
        """An inode as applications see it."""
        return await self._inodes.get_shown(number)

    async def make(self, node: MakeNode) -> Inode:
        """Create something under a free name."""
        _check_name(node.name)
        made = (await self._mutate(node)).inodes[0]
        self._names.put(node.parent, node.name, made.number)
        self._references.looked_up(made.number)
        return made

    async def set_attributes(self, change: SetAttributes) -> Inode:
        """chmod, chown, truncate and utimens."""
        if change.size is not None:
            await self._files.prepare_truncate(change.number, change.size)
        if change.size is not None or change.mtime is not None or change.atime is not None:
            mtime = change.size is not None or change.mtime is not None
            await self._files.prepare_times(change.number, atime=change.atime is not None, mtime=mtime)
        asked = self._inodes.asking()
        changed = (await self._mutate(change)).inodes[0]
        return self._inodes.shown(await self._inodes.current(changed, asked))

    async def unlink(self, parent: InodeNumber, name: bytes) -> None:
        """Remove a name of anything but a directory."""
        _check_name(name)
        await self._mutate(Unlink(parent, name))
        self._removed(parent, name)

    async def remove_directory(self, parent: InodeNumber, name: bytes) -> None:
        """Remove an empty directory."""
        _check_name(name)
        await self._mutate(RemoveDirectory(parent, name))
        self._removed(parent, name)

    async def link(self, number: InodeNumber, parent: InodeNumber, name: bytes) -> Inode:
        """Give a file another name."""
        _check_name(name)
        asked = self._inodes.asking()
        linked = (await self._mutate(Link(number, parent, name))).inodes[0]
        self._references.looked_up(number)
        return self._inodes.shown(await self._inodes.current(linked, asked))

    async def rename(self, move: Rename) -> None:
        """Move a name. Where one may be replaced, the bytes of its successor go first: a crash leaves either whole."""
        _check_name(move.name)
        _check_name(move.new_name)
        if move.replace and not move.exchange and len(self._dirty):
            await self._send_bytes_of(move.parent, move.name)
        await self._mutate(move)
        self._names.drop(move.parent, move.name)
        self._names.drop(move.new_parent, move.new_name)
        self._directories.replaced(move.new_parent)
        self._directories.replaced(move.parent)

    async def target(self, number: InodeNumber) -> bytes:
        """What a symbolic link says."""
        return (await self._inodes.get(number)).target

    async def space(self) -> Space:
        """Room and files of the volume."""
        return expect(await self._client.call(VolumeSpace()), Space)

    async def xattr(self, number: InodeNumber, name: bytes) -> bytes:
        """The value of an extended attribute."""
        _check_xattr(name)
        if not (await self._inodes.get(number)).xattr_bytes:
            raise NamespaceRefusal(errno.ENODATA)
        return expect(await self._client.call(GetXattr(number, name)), Value).value

    async def xattrs(self, number: InodeNumber, *, privileged: bool) -> list[bytes]:
        """The names of the extended attributes that the caller may know of."""
        if not (await self._inodes.get(number)).xattr_bytes:
            return []
        names = expect(await self._client.call(ListXattrs(number)), Names).names
        return [name for name in names if privileged or not name.startswith(_TRUSTED)]

    async def set_xattr(self, number: InodeNumber, name: bytes, value: bytes) -> None:
        """Set an extended attribute."""
        _check_xattr(name)
        await self._mutate(SetXattr(number, name, value))

    async def remove_xattr(self, number: InodeNumber, name: bytes) -> None:
        """Remove an extended attribute."""
        _check_xattr(name)
        await self._mutate(RemoveXattr(number, name))

    async def _find(self, parent: InodeNumber, name: bytes) -> Inode | None:
        if name == b".":
            return await self._inodes.get(parent)
        if name == b"..":
            return await self._inodes.get((await self._inodes.get(parent)).parent or ROOT)
        _check_name(name)
        asked = self._inodes.asking()
        inode = expect(await self._client.call(Lookup(parent, name)), Found).inode
        if inode is None:
            return None
        if inode.is_regular:
            self._names.put(parent, name, inode.number)
        return await self._inodes.current(inode, asked)

    async def _mutate(self, operation: NamespaceOperation) -> Done:
        asked = self._inodes.asking()
        done = await self._client.mutate(operation)
        self._inodes.learn(done.inodes, asked)
        if done.orphans:
            self._orphans.add(done.orphans)
        if self._options.sync:
            await self._client.call(Barrier())
        return done

    async def _send_bytes_of(self, parent: InodeNumber, name: bytes) -> None:
        number = self._names.get(parent, name)
        if number is None:
            inode = await self._find(parent, name)
            number = None if inode is None else inode.number
        if number is not None and self._dirty.get(number) is not None:
            await self._flusher.flush_file(number, durable=False)

    def _removed(self, parent: InodeNumber, name: bytes) -> None:
        self._names.drop(parent, name)
        self._directories.removed(parent, name)


def _check_name(name: bytes) -> None:
    if len(name) > NAME_BYTES_MAX:
        raise NamespaceRefusal(errno.ENAMETOOLONG)


def _check_xattr(name: bytes) -> None:
    if not name.startswith(_XATTR_PREFIXES) and name not in _ACLS:
        raise NamespaceRefusal(errno.EOPNOTSUPP)
