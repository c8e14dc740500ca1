"""The daemon is away, or does not answer: operations wait a bounded time, fail with EIO, and work when it is back."""

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.mount.volume import Volume, wait_until

pytestmark = pytest.mark.mount

_TIMEOUT_S = 2.0
_BOUND_S = _TIMEOUT_S + 4.0
MIB = 1 << 20


@pytest.fixture(name="impatient")
def mount_impatiently(volumes: Callable[[], Volume]) -> Volume:
    """A mount that waits two seconds."""
    volume = volumes()
    volume.mount("-o", f"timeout={_TIMEOUT_S:.0f}")
    return volume


@contextlib.contextmanager
def _daemon_prevented(volume: Volume) -> Iterator[None]:
    """The daemon is killed and cannot come up: its folder has lost the file that says whose it is."""
    away = volume.root / "identity"
    (volume.data / "identity").rename(away)
    volume.kill_daemon()
    yield
    away.rename(volume.data / "identity")


@contextlib.contextmanager
def _daemon_stopped(volume: Volume) -> Iterator[None]:
    """The daemon keeps its sockets and answers nothing."""
    pid = volume.daemon()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


_OUTAGES = {"gone": _daemon_prevented, "stopped": _daemon_stopped}


def _outcome(action: Callable[[], object]) -> tuple[str, bool]:
    """What errno an operation ends with, and whether that was in time."""
    start, result = time.monotonic(), "done"
    try:
        action()
    except OSError as error:
        result = errno.errorcode[error.errno or 0]
    return result, time.monotonic() - start < _BOUND_S


@pytest.mark.parametrize("outage", sorted(_OUTAGES))
def test_eio_within_the_bound_and_the_same_mount_goes_on(outage: str, impatient: Volume) -> None:
    """Each kind of operation ends with EIO within the bound; afterwards all work, and what was written is there."""
    path, content = impatient.path, os.urandom(2 * MIB)
    (path / "stored").write_bytes(content)
    (path / "dirty").touch()
    (path / "folder").mkdir()
    with (path / "stored").open("rb") as stored, (path / "dirty").open("r+b", buffering=0) as dirty:
        os.fsync(stored.fileno())
        with _OUTAGES[outage](impatient):
            dirty.write(b"written while nobody listened")
            os.posix_fadvise(stored.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            actions: list[Callable[[], object]] = [
                partial(os.fsync, dirty.fileno()),
                lambda: os.pread(stored.fileno(), 4096, MIB),
                lambda: (path / "stored").rename(path / "moved"),
                (path / "folder" / "unknown").stat,
                lambda: os.listdir(path / "folder"),
                lambda: os.statvfs(path),
            ]
            with ThreadPoolExecutor(len(actions)) as pool:
                assert list(pool.map(_outcome, actions)) == [("EIO", True)] * len(actions)
            assert _outcome((path / "folder" / "new").mkdir) == ("EIO", True)
        wait_until(lambda: _works(path), "it works again", 20)
        os.fsync(dirty.fileno())
        assert stored.read() == content
    assert (path / "dirty").read_bytes() == b"written while nobody listened"
    assert impatient.ask("status")["mounts"][0]["pid"] == impatient.pid
    impatient.remount()
    assert (path / "dirty").read_bytes() == b"written while nobody listened"
    moved = path / ("moved" if (path / "moved").exists() else "stored")
    assert moved.read_bytes() == content
    impatient.assert_sound()


def _works(path: Path) -> bool:
    with contextlib.suppress(OSError):
        (path / "probe").write_bytes(b"")
        (path / "probe").unlink()
        return True
    return False


def test_operations_wait_for_a_short_outage(volume: Volume) -> None:
    """With the daemon stopped for two seconds nothing fails: operations wait, and go on."""
    results: list[float] = []

    def work() -> None:
        start = time.monotonic()
        (volume.path / "made").write_bytes(b"content")
        assert (volume.path / "made").stat().st_size == 7
        results.append(time.monotonic() - start)

    with _daemon_stopped(volume):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(2)
        assert not results, "it waits"
    thread.join(20)
    assert results
    assert 1.9 < results[0] < 10


def test_many_writers_never_hang(impatient: Volume) -> None:
    """More is written than the mount may hold back: writers get EIO within the bound, and none hangs."""
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            with (impatient.path / f"file{number}").open("r+b", buffering=0) as file:
                for _ in range(40):
                    file.write(bytes(MIB))
                os.fsync(file.fileno())
        except OSError as error:
            outcomes.append(errno.errorcode[error.errno or 0])
        else:
            outcomes.append("done")

    for number in range(4):
        (impatient.path / f"file{number}").touch()
    impatient.announce("bytes of inode .* are lost")
    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    with _daemon_prevented(impatient):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(6 * _BOUND_S)
        assert not any(thread.is_alive() for thread in threads)
        assert outcomes == ["EIO"] * 4
    wait_until(lambda: _works(impatient.path), "it works again", 20)
    impatient.assert_sound()


def test_umount_while_the_daemon_restarts(volume: Volume) -> None:
    """Umount right after a kill of the daemon waits for the next one, and loses nothing."""
    content = os.urandom(20 * MIB)
    (volume.path / "file").write_bytes(content)
    volume.kill_daemon()
    volume.unmount()
    volume.mount()
    assert (volume.path / "file").read_bytes() == content


def test_daemon_stopped_by_its_verb_comes_back(volume: Volume) -> None:
    """Dwd stop under a mount is a restart: the embedded daemon is wanted as long as something is mounted."""
    (volume.path / "file").write_bytes(b"content")
    volume.stop_daemon()
    (volume.path / "other").write_bytes(b"more")
    assert (volume.path / "file").read_bytes() == b"content"
    volume.daemon()
    assert len(volume.daemons) == 2
