"""What an inode looks like now: as the daemon last told it, with what is still dirty here on top."""

import errno
from collections.abc import Iterable

from msgspec.structs import replace

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.wire.messages import Found, GetInode
from dwfs.answers import expect
from dwfs.cache.coherence import Coherence
from dwfs.cache.dirty import Dirty, DirtyFile
from dwfs.cache.inodes import InodeCache
from dwfs.client import Client


class Inodes:
    """The daemon's inodes, cached while the volume is ours alone."""

    def __init__(self, client: Client, coherence: Coherence, dirty: Dirty) -> None:
        self._client = client
        self._coherence = coherence
        self._dirty = dirty
        self._cache = InodeCache()

    async def get(self, number: InodeNumber) -> Inode:
        """An inode as it is stored.

        Raises:
            NamespaceRefusal: ESTALE, it is gone.
            Fault: the daemon cannot say.
        """
        inode = self._cache.get(number)
        if inode is None:
            inode = expect(await self._client.call(GetInode(number)), Found).inode
            if inode is None:
                raise NamespaceRefusal(errno.ESTALE, f"inode {number} is gone")
            self.learn((inode,))
        return inode

    async def get_shown(self, number: InodeNumber) -> Inode:
        """An inode as applications see it. Raises as get()."""
        return self.shown(await self.get(number))

    def learn(self, inodes: Iterable[Inode]) -> None:
        """The daemon has told us of inodes."""
        if self._coherence.exclusive:
            self._cache.put_all(inodes)

    def newest(self, inode: Inode) -> Inode:
        """This inode, or what has been learnt of it since."""
        known = self._cache.get(inode.number)
        return inode if known is None or known.changed < inode.changed else known

    def shown(self, inode: Inode) -> Inode:
        """An inode with its unstored bytes and times."""
        file = self._dirty.get(inode.number)
        return inode if file is None else _overlaid(inode, file)

    def drop(self, number: InodeNumber) -> None:
        """An inode is gone."""
        self._cache.drop(number)

    def forget_all(self) -> None:
        """Nothing that is known may be relied on."""
        self._cache.clear()


def _overlaid(inode: Inode, file: DirtyFile) -> Inode:
    size = max(inode.size, file.end)
    mtime = inode.mtime if file.mtime is None else file.mtime  # as the daemon will have it, even if it goes back
    return replace(
        inode,
        size=size,
        allocated=min(inode.allocated + file.bytes, max(size, inode.allocated)),
        mtime=mtime,
        ctime=max(inode.ctime, 0 if file.mtime is None else file.mtime),
        atime=inode.atime if file.atime is None else file.atime,
    )
