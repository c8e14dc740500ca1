"""What applications see of our failures."""

import errno

import pyfuse3
import pytest

from dwd.model.errors import BadRequest, DwError, NamespaceRefusal, NoSpace, Unreachable
from dwfs.answers import DaemonFault
from dwfs.errno_map import answering, errno_of


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (NamespaceRefusal(errno.ENOTEMPTY), errno.ENOTEMPTY),
        (NoSpace("full"), errno.ENOSPC),
        (Unreachable("away"), errno.EIO),
        (DaemonFault("segment-lost", errno.EIO, "lost"), errno.EIO),
        (DaemonFault("odd", 0, "no errno"), errno.EIO),
        (BadRequest("ours"), errno.EIO),
    ],
)
async def test_every_failure_has_an_errno(error: DwError, number: int) -> None:
    """POSIX's own are passed on; what concerns the daemon and not the request is EIO."""
    assert errno_of(error) == number

    @answering
    async def handler() -> None:
        raise error

    with pytest.raises(pyfuse3.FUSEError) as raised:
        await handler()
    assert raised.value.errno == number


async def test_a_bug_is_not_turned_into_an_errno() -> None:
    """Only Refusals and Faults are answers."""

    @answering
    async def handler() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await handler()
