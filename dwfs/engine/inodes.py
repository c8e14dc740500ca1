"""What an inode looks like now: as the daemon last told it, with what is still dirty here on top.

An answer may be old when it is looked at. A flight may have landed meanwhile: the daemon gave the answer before it
took the bytes, and one read of the socket brought both; shown then, it would lack what is no longer dirty. Or
all that was known was forgotten meanwhile, a newer answer with it. So who asks notes the moment before (asking()).
"""

import errno
from collections.abc import Iterable

import attrs
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


@attrs.frozen
class Asked:
    """When the daemon was asked: what had landed by then, and how often all had been forgotten."""

    landings: int
    forgotten: int


class Inodes:
    """The daemon's inodes, cached while the volume is ours alone."""

    def __init__(self, client: Client, coherence: Coherence, dirty: Dirty) -> None:
        self._client = client
        self._coherence = coherence
        self._dirty = dirty
        self._cache = InodeCache()
        self.forgotten = 0  # how often all was forgotten: what was kept elsewhere since before is void as well

    async def get(self, number: InodeNumber) -> Inode:
        """An inode as it is stored.

        Raises:
            NamespaceRefusal: ESTALE, it is gone.
            Fault: the daemon cannot say.
        """
        inode = self._cache.get(number)
        while inode is None:
            asked = self.asking()
            had_some = self._dirty.get(number) is not None
            answer = expect(await self._client.call(GetInode(number)), Found).inode
            if answer is None:
                raise NamespaceRefusal(errno.ESTALE, f"inode {number} is gone")
            if had_some and asked.landings != self._dirty.landings:
                continue
            self.learn((answer,), asked)
            inode = self.newest(answer)
        return inode

    def asking(self) -> Asked:
        """The moment, to be noted before the daemon is asked for anything that tells of inodes."""
        return Asked(self._dirty.landings, self.forgotten)

    async def current(self, answer: Inode, asked: Asked) -> Inode:
        """An inode that an answer brought, asked for anew if flights have landed since. Raises as get()."""
        self.learn((answer,), asked)
        if asked.landings == self._dirty.landings or not answer.is_regular:
            return self.newest(answer)
        return await self.get(answer.number)

    async def get_shown(self, number: InodeNumber) -> Inode:
        """An inode as applications see it. Raises as get()."""
        return self.shown(await self.get(number))

    def learn(self, inodes: Iterable[Inode], asked: Asked) -> None:
        """The daemon has told us of inodes."""
        if not self._coherence.exclusive:
            return
        if asked.forgotten != self.forgotten:  # what is known of an inode has been asked for since: the newer counts
            inodes = [inode for inode in inodes if self._cache.get(inode.number) is not None]
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
        self.forgotten += 1


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
