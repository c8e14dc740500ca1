"""Values at the ends of what the kernel can ask: each gets an answer or an errno, and the mount goes on."""

import ctypes
import errno
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.mount

TIB = 1 << 40
NS = 1_000_000_000
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
_AT_FDCWD = -100


def _set_times(path: Path, seconds: int, nanoseconds: int) -> None:
    """Python's own os.utime refuses what the system call takes."""
    times = struct.pack("4q", seconds, nanoseconds, seconds, nanoseconds)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.utimensat(_AT_FDCWD, os.fsencode(path), times, 0) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize(
    ("seconds", "nanoseconds", "shown"),
    [
        (0, 0, 0),
        (-1, 5, -NS + 5),
        (-(1 << 32), 1, -(1 << 32) * NS + 1),
        (1 << 33, 999_999_999, (1 << 33) * NS + 999_999_999),
        (1 << 62, 1, _INT64_MAX),
        (_INT64_MAX, 999_999_999, _INT64_MAX),
        (-(1 << 62), 1, _INT64_MIN),
        (_INT64_MIN, 0, _INT64_MIN),
    ],
)
def test_times(seconds: int, nanoseconds: int, shown: int, folder: Path) -> None:
    """Times before 1970 are kept; those that no volume holds become the nearest one."""
    path = folder / "file"
    path.touch()
    _set_times(path, seconds, nanoseconds)
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (shown, shown)


def test_a_write_makes_a_time_in_the_future_the_present(folder: Path) -> None:
    """As anywhere: what was written last is what counts."""
    path = folder / "file"
    path.touch()
    os.utime(path, ns=(4_000_000_000 * NS, 4_000_000_000 * NS))
    path.write_bytes(b"content")
    assert abs(path.stat().st_mtime_ns - time.time_ns()) < 10 * NS


@pytest.mark.parametrize("offset", [16 * TIB, 1 << 62, _INT64_MAX - 4096])
def test_offsets_beyond_the_end_of_any_file(offset: int, folder: Path) -> None:
    """A read finds nothing; a write and a truncate are too large; what was there stays."""
    path = folder / "file"
    path.write_bytes(b"content")
    with path.open("r+b", buffering=0) as file:
        assert os.pread(file.fileno(), 10, offset) == b""
        with pytest.raises(OSError, match="File too large"):
            os.pwrite(file.fileno(), b"x", offset)
        if offset > 16 * TIB:
            with pytest.raises(OSError, match="File too large"):
                os.truncate(file.fileno(), offset)
    assert path.read_bytes() == b"content"


def test_the_last_byte_of_the_largest_file(folder: Path) -> None:
    """16 TiB, sparse."""
    path = folder / "file"
    with path.open("w+b", buffering=0) as file:
        assert os.pwrite(file.fileno(), b"x", 16 * TIB - 1) == 1
        assert os.pread(file.fileno(), 10, 16 * TIB - 2) == b"\0x"
    assert path.stat().st_size == 16 * TIB


def test_names_and_values_at_their_bounds(folder: Path) -> None:
    """What POSIX allows is kept; one byte more has the errno that POSIX names."""
    path = folder / ("n" * 255)
    path.touch()
    os.symlink("t" * 4095, folder / "link")
    assert len(os.readlink(folder / "link")) == 4095
    os.setxattr(path, "user." + "x" * 250, b"v" * 65_536)
    assert len(os.getxattr(path, "user." + "x" * 250)) == 65_536
    for number, action in (
        (errno.ENAMETOOLONG, (folder / ("n" * 256)).touch),
        (errno.ERANGE, lambda: os.setxattr(path, "user." + "x" * 251, b"")),
        (errno.E2BIG, lambda: os.setxattr(path, "user.value", b"v" * 65_537)),
        (errno.ENODATA, lambda: os.getxattr(path, "user.none")),
        (errno.EOPNOTSUPP, lambda: os.open(folder, os.O_TMPFILE | os.O_RDWR)),
    ):
        _assert_errno(number, action)


def test_ids_at_their_bounds(folder: Path) -> None:
    """The largest user, group and device numbers are kept."""
    path = folder / "file"
    path.touch()
    os.chown(path, (1 << 32) - 2, (1 << 32) - 2)
    assert (path.stat().st_uid, path.stat().st_gid) == ((1 << 32) - 2, (1 << 32) - 2)
    os.mknod(folder / "device", 0o020600, os.makedev(4095, (1 << 20) - 1))
    assert (folder / "device").stat().st_rdev == os.makedev(4095, (1 << 20) - 1)


def _assert_errno(number: int, action: Callable[[], object]) -> None:
    with pytest.raises(OSError, match="Errno") as raised:
        action()
    assert raised.value.errno == number
