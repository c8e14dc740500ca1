"""What we tell the kernel unasked: that something it keeps of an inode is no longer so.

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


def _tell(number: InodeNumber, invalidate: Callable[[pyfuse3.InodeT], None]) -> None:
    try:
        invalidate(pyfuse3.InodeT(number))
    except OSError as error:
        log.debug("inode %d was not invalidated: %s", number, error)  # the kernel does not know it: as well
