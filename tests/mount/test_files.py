"""Files through system calls: opening, mapping, locking, holes, times, and life after unlink."""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.volume import Volume, environment, run, wait_until

pytestmark = pytest.mark.mount

MIB, TIB = 1 << 20, 1 << 40
_RENAME_NOREPLACE, _RENAME_EXCHANGE, _RENAME_WHITEOUT = 1, 2, 4
_AT_FDCWD = -100
_APPEND_PROGRAM = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for number in range(500):
    line = f"{sys.argv[2]} {number} {'x' * (number % 97)}\\n".encode()
    assert os.write(fd, line) == len(line)
"""
_LOCK_PROGRAM = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
lock = getattr(fcntl, sys.argv[2])
try:
    lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(11)
"""


def _renameat2(old: Path, new: Path, flags: int) -> int:
    """The errno, or 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags) == 0:
        return 0
    return ctypes.get_errno()


def test_rename_flags(folder: Path) -> None:
    """NOREPLACE never replaces, EXCHANGE swaps whatever there is, what is not supported is EINVAL."""
    one, two, tree = folder / "one", folder / "two", folder / "tree"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    tree.mkdir()
    (tree / "inside").write_bytes(b"3")
    assert _renameat2(one, two, _RENAME_NOREPLACE) == errno.EEXIST
    assert _renameat2(one, folder / "free", _RENAME_NOREPLACE) == 0
    assert _renameat2(folder / "free", folder / "free2", 0) == 0
    assert _renameat2(folder / "free2", one, _RENAME_EXCHANGE) == errno.ENOENT
    assert _renameat2(folder / "free2", two, _RENAME_EXCHANGE) == 0
    assert (two.read_bytes(), (folder / "free2").read_bytes()) == (b"1", b"2")
    assert _renameat2(tree, two, _RENAME_EXCHANGE) == 0
    assert (tree.read_bytes(), (two / "inside").read_bytes()) == (b"1", b"3")
    assert _renameat2(two, two / "below", 0) == errno.EINVAL
    assert _renameat2(tree, folder / "other", _RENAME_WHITEOUT) == errno.EINVAL
    assert sorted(os.listdir(folder)) == ["free2", "tree", "two"]


def test_rename_replaces(folder: Path) -> None:
    """A plain rename replaces a file whole, an empty directory, and nothing else."""
    one, two, full = folder / "one", folder / "two", folder / "full"
    one.write_bytes(b"new" * 100_000)
    two.write_bytes(b"old")
    one.rename(two)
    assert two.read_bytes() == b"new" * 100_000
    assert not one.exists()
    (full / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    assert _renameat2(folder / "empty", full, 0) == errno.ENOTEMPTY
    assert _renameat2(two, full, 0) == errno.EISDIR
    assert _renameat2(full, two, 0) == errno.ENOTDIR
    assert _renameat2(full, folder / "empty", 0) == 0
    assert (folder / "empty" / "sub").is_dir()


def test_open_flags(folder: Path) -> None:
    """O_EXCL refuses what is there, O_TRUNC empties, O_APPEND writes at the end, O_DIRECTORY wants a directory."""
    path = folder / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    os.write(descriptor, b"0123456789")
    with pytest.raises(FileExistsError):
        os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    appending = os.open(path, os.O_RDWR | os.O_APPEND)
    os.write(appending, b"ab")
    os.write(descriptor, b"cd")  # its own offset is 10 still
    assert os.pread(appending, 100, 0) == b"0123456789cd"
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert os.fstat(descriptor).st_size == 0
    assert os.pread(descriptor, 100, 0) == b""
    os.write(appending, b"ef")
    assert path.read_bytes() == b"ef"
    with pytest.raises(NotADirectoryError):
        os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.close(descriptor)
    os.close(appending)


def test_append_by_two_processes(folder: Path) -> None:
    """Two processes append with O_APPEND: every line is there, whole, in the order of its writer."""
    path = folder / "lines"
    writers = [subprocess.Popen([sys.executable, "-c", _APPEND_PROGRAM, str(path), name]) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = path.read_text(encoding="ascii").splitlines()
    for name in ("a", "b"):
        expected = [f"{name} {number} {'x' * (number % 97)}" for number in range(500)]
        assert [line for line in lines if line.startswith(name)] == expected
    assert len(lines) == 1000


def test_o_direct(folder: Path) -> None:
    """O_DIRECT writes and reads aligned blocks, and others see them."""
    path = folder / "direct"
    buffer = mmap.mmap(-1, MIB)
    buffer.write(os.urandom(MIB))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    for number in range(3):
        assert os.pwrite(descriptor, buffer, number * MIB) == MIB
    assert path.read_bytes() == buffer[:] * 3
    target = mmap.mmap(-1, 4096)
    assert os.preadv(descriptor, [target], MIB + 4096) == 4096
    assert target[:] == buffer[4096:8192]
    os.close(descriptor)
    target.close()
    buffer.close()


def test_mmap(folder: Path) -> None:
    """What is written through a shared mapping, read(2) and other processes read; a private one is private."""
    path = folder / "mapped"
    path.write_bytes(bytes(3 * MIB))
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0) as mapping:
            mapping[MIB : MIB + 5] = b"hello"
            mapping[3 * MIB - 1] = 7
            mapping.flush()
            file.seek(MIB)
            assert file.read(5) == b"hello"
            assert run("tail", "-c", "1", path).stdout == "\x07"
        with mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapping:
            assert mapping[MIB : MIB + 5] == b"hello"
            mapping[0:3] = b"own"
    content = path.read_bytes()
    assert (content[:3], content[MIB : MIB + 5], content[-1]) == (bytes(3), b"hello", 7)


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks(kind: str, folder: Path) -> None:
    """A lock by flock or fcntl keeps another process out until it is given back."""
    path = folder / "locked"
    path.touch()
    argv = [sys.executable, "-c", _LOCK_PROGRAM, str(path), kind]
    with path.open("r+b") as file:
        getattr(fcntl, kind)(file, fcntl.LOCK_EX)
        assert run(*argv, check=False).returncode == 11
        getattr(fcntl, kind)(file, fcntl.LOCK_UN)
        assert run(*argv).returncode == 0


def test_sparse_file_of_16_tib(folder: Path) -> None:
    """A file may be 16 TiB long and costs what is written; one byte more is EFBIG."""
    path = folder / "sparse"
    with path.open("w+b", buffering=0) as file:
        file.truncate(16 * TIB)
        assert path.stat().st_size == 16 * TIB
        assert os.pwrite(file.fileno(), b"middle", 9 * TIB + 5) == 6
        assert os.pwrite(file.fileno(), b"the end", 16 * TIB - 7) == 7
        os.fsync(file.fileno())
        assert os.pread(file.fileno(), 100, 16 * TIB - 7) == b"the end"
        assert os.pread(file.fileno(), 16, 9 * TIB) == b"\0\0\0\0\0middle\0\0\0\0\0"
        assert os.pread(file.fileno(), 4096, 5 * TIB) == bytes(4096)
        assert os.fstat(file.fileno()).st_blocks * 512 < MIB
        with pytest.raises(OSError, match="File too large"):
            os.pwrite(file.fileno(), b"x", 16 * TIB)
        with pytest.raises(OSError, match="File too large"):
            file.truncate(16 * TIB + 1)
        file.truncate(9 * TIB + 8)
        assert os.pread(file.fileno(), 100, 9 * TIB) == b"\0\0\0\0\0mid"
        file.truncate(9 * TIB + 12)
        assert os.pread(file.fileno(), 100, 9 * TIB) == b"\0\0\0\0\0mid\0\0\0\0", "what was cut off does not come back"


def test_truncate_both_ways(shared: Volume, folder: Path) -> None:
    """Truncating shorter cuts, longer gives zeros, dirty or stored."""
    path, content = folder / "file", os.urandom(300_000)
    for stored in (False, True):
        path.write_bytes(content)
        if stored:
            os.sync()
        os.truncate(path, 100_001)
        os.truncate(path, 250_000)
        assert path.read_bytes() == content[:100_001] + bytes(149_999)
    with path.open("r+b", buffering=0) as file:
        file.truncate(0)
        os.pwrite(file.fileno(), b"tail", 5000)
        assert path.read_bytes() == bytes(5000) + b"tail"


def test_special_files(folder: Path) -> None:
    """A fifo, a socket and devices work as such."""
    fifo, bound, device, block = (folder / name for name in ("fifo", "socket", "null", "block"))
    os.mkfifo(fifo, 0o600)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with fifo.open("wb") as writer:
        writer.write(b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        here = os.open(folder, os.O_RDONLY)
        name = f"/proc/self/fd/{here}/socket"
        server.bind(name)
        server.listen()
        client.connect(name)
        os.close(here)
    assert stat.S_ISSOCK(bound.stat().st_mode)
    os.mknod(block, 0o600 | stat.S_IFBLK, os.makedev(7, 300))
    assert (block.stat().st_rdev, stat.S_ISBLK(block.stat().st_mode)) == (os.makedev(7, 300), True)
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert (device.stat().st_rdev, stat.S_ISCHR(device.stat().st_mode)) == (os.makedev(1, 3), True)


def test_times_in_nanoseconds(folder: Path) -> None:
    """Times are kept to the nanosecond, before 1970 too; ctime and mtime rise with changes."""
    path = folder / "file"
    path.touch()
    for times in ((1_234_567_890_123_456_789, 987_654_321_987_654_321), (-1_500_000_001, -999_999_999), (0, 1 << 32)):
        os.utime(path, ns=times)
        found = path.stat()
        assert (found.st_atime_ns, found.st_mtime_ns) == times
    before = path.stat()
    path.chmod(0o600)
    assert path.stat().st_ctime_ns > before.st_ctime_ns
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    path.write_bytes(b"x")
    assert path.stat().st_mtime_ns > before.st_ctime_ns
    parent = folder.stat().st_mtime_ns
    (folder / "new").touch()
    assert folder.stat().st_mtime_ns > parent


def test_hard_links(folder: Path) -> None:
    """Names of one file share everything; it lives until the last is gone."""
    one, two = folder / "one", folder / "two"
    one.write_bytes(b"shared")
    os.link(one, two)
    assert (one.stat().st_ino, one.stat().st_nlink) == (two.stat().st_ino, 2)
    with two.open("ab") as file:
        file.write(b" more")
    assert one.read_bytes() == b"shared more"
    one.unlink()
    assert (two.read_bytes(), two.stat().st_nlink) == (b"shared more", 1)
    (folder / "sub").mkdir()
    assert folder.stat().st_nlink == 3
    with pytest.raises(PermissionError):
        os.link(folder / "sub", folder / "linked")


def test_open_file_outlives_unlink(folder: Path) -> None:
    """A file that is open lives on without a name, readable, writable, with no link."""
    path = folder / "file"
    with path.open("w+b", buffering=0) as file:
        file.write(b"before")
        path.unlink()
        assert not path.exists()
        file.write(b" and after")
        assert os.fstat(file.fileno()).st_nlink == 0
        assert os.pread(file.fileno(), 100, 0) == b"before and after"
        os.fsync(file.fileno())
        file.truncate(6)
        assert os.pread(file.fileno(), 100, 0) == b"before"
    folder.joinpath("other").mkdir()


def test_open_file_outlives_unlink_and_the_daemon(volume: Volume) -> None:
    """Open after unlink, over kill -9 of the daemon: it reads back, takes more, and its room is freed at close."""
    content = os.urandom(3 * MIB)
    with (volume.path / "file").open("w+b", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())
        (volume.path / "file").unlink()
        killed = volume.kill_daemon()
        assert os.pread(file.fileno(), 4 * MIB, 0) == content
        os.pwrite(file.fileno(), b"more", 3 * MIB)
        os.fsync(file.fileno())
        volume.wait_for_another_daemon(killed)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(file.fileno(), 4 * MIB, 0) == content + b"more"
        assert volume.ask("status")["inodes"] == 2
        volume.assert_sound()
    wait_until(lambda: volume.ask("status")["inodes"] == 1, "the file is gone")
    wait_until(lambda: volume.ask("status")["segments"]["live"] == 0, "its segments are dead")


def test_reading_a_hole_between_dirty_and_stored(folder: Path) -> None:
    """Stored bytes, newer unsent ones and holes are read as one file."""
    path = folder / "file"
    expected = bytearray(900_000)
    with path.open("w+b", buffering=0) as file:
        for at, length, sync in (
            (0, 100_000, True),
            (700_000, 150_000, True),
            (50_000, 20, False),
            (690_000, 20_000, False),
        ):
            part = os.urandom(length)
            expected[at : at + length] = part
            os.pwrite(file.fileno(), part, at)
            if sync:
                os.fsync(file.fileno())
        file.truncate(900_000)
        assert path.read_bytes() == expected
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert path.read_bytes() == expected


def test_copy_by_kernel_and_fallocate(folder: Path) -> None:
    """Copy_file_range and sendfile work; fallocate is refused cleanly, and posix_fallocate makes up for it."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(os.urandom(500_000))
    with source.open("rb") as reading, target.open("w+b") as writing:
        copied = 0
        while copied < 500_000:
            copied += os.sendfile(writing.fileno(), reading.fileno(), copied, 500_000 - copied)
    assert target.read_bytes() == source.read_bytes()
    done = run("fallocate", "-l", "1M", folder / "room", check=False, env=environment())
    assert done.returncode == 0 or "not supported" in done.stderr
    with (folder / "posix").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 100_000)
    assert (folder / "posix").stat().st_size == 100_000
