"""Turn the operating system's errors about a brick into ours: which brick, what failed, why, and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dwd.model.errors import BrickFault, NoSpace, ShardMissing

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REMEDIES: Final = MappingProxyType(
    {
        errno.ENOENT: "if the disk is not mounted, mount it; else repair will restore what is missing",
        errno.EEXIST: "nothing is ever written over: remove it first",
        errno.EROFS: "the file system is read-only: look for disk errors in the kernel log, then remount it writable",
        errno.EACCES: "give the daemon's user read and write access to the folder",
        errno.EPERM: "give the daemon's user read and write access to the folder",
        errno.EIO: "the disk is failing: see the kernel log, and replace the brick",
        errno.EMFILE: "raise the daemon's limit of open files (LimitNOFILE)",
    }
)


def brick_error(path: Path, operation: str, error: OSError) -> BrickFault | NoSpace:
    """What to raise for an OSError."""
    if error.errno in _NO_SPACE:
        return NoSpace(f"brick {path}: cannot {operation}: {error.strerror}; remove files or add bricks")
    remedy = _REMEDIES.get(error.errno or 0, "check the disk and the kernel log")
    return BrickFault(f"brick {path}: cannot {operation}: {error.strerror}; {remedy}")


def read_error(path: Path, operation: str, error: OSError) -> BrickFault | NoSpace:
    """What to raise for an OSError of reading a shard: the absence of its file is told from a failing disk."""
    fault = brick_error(path, operation, error)
    return ShardMissing(str(fault)) if error.errno == errno.ENOENT else fault


@contextmanager
def brick_errors(path: Path, operation: str) -> Iterator[None]:
    """Translate what the body raises."""
    try:
        yield
    except OSError as error:
        raise brick_error(path, operation, error) from error
