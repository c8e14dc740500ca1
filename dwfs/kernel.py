"""What we tell the kernel unasked: that something it keeps of an inode is no longer so, and pages ahead of its asking.

These calls may wait for a handler, so they run in a thread, and never under a lock.
"""

import logging
from collections.abc import Callable

import pyfuse3
import trio

from dwd.model.ids import InodeNumber

log = logging.getLogger(__name__)


async def drop_attributes(number: InodeNumber) -> None:
    """The attributes that the kernel keeps are wrong."""
    await trio.to_thread.run_sync(_tell, number, lambda inode: pyfuse3.invalidate_inode(inode, attr_only=True))


async def drop_pages(number: InodeNumber) -> None:
    """The attributes and pages that the kernel keeps may be wrong."""
    await trio.to_thread.run_sync(_tell, number, pyfuse3.invalidate_inode)


async def feed_pages(number: InodeNumber, offset: int, data: bytes | memoryview) -> None:
    """Give the kernel pages of a file that it has not asked for."""
    await trio.to_thread.run_sync(_feed, number, offset, data)


def _feed(number: InodeNumber, offset: int, data: bytes | memoryview) -> None:
    try:
        pyfuse3.notify_store(pyfuse3.InodeT(number), offset, data)  # type: ignore[arg-type]  # any buffer will do
    except OSError as error:
        log.debug("pages of inode %d were not taken: %s", number, error)  # it will ask for them


def _tell(number: InodeNumber, invalidate: Callable[[pyfuse3.InodeT], None]) -> None:
    try:
        invalidate(pyfuse3.InodeT(number))
    except OSError as error:
        log.debug("inode %d was not invalidated: %s", number, error)  # the kernel does not know it: as well
