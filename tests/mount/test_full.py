"""A volume that is full: ENOSPC and nothing else, nothing is damaged, and removing gives the room back."""

import errno
import hashlib
import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.volume import Volume, run, wait_until

pytestmark = [
    pytest.mark.mount,
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes a small file system"),
]

MIB = 1 << 20


@pytest.fixture(name="small", params=[512])
def mount_small(request: pytest.FixtureRequest, volumes: Callable[[], Volume]) -> Volume:
    """A volume whose data folder, bricks and all, has 512 MiB of memory."""
    volume = volumes()
    volume.data.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={request.param}m,mode=700", "dwfs-test", volume.data)
    volume.devices.append(volume.data)
    volume.mount()
    return volume


def _available(volume: Volume) -> int:
    found = os.statvfs(volume.path)
    return found.f_bavail * found.f_frsize


def _stored(volume: Volume) -> int:
    """Segments that have bytes, or whose shards are not removed yet."""
    segments = volume.ask("status")["segments"]
    return int(segments["live"] + segments["dead"])


def _fill(path: Path) -> tuple[str, int]:
    """Write until it fails; what dd said, and how much is in the file."""
    done = run("dd", "if=/dev/urandom", f"of={path}", "bs=1M", "count=2000", "conv=fsync", check=False)
    assert done.returncode == 1
    return done.stderr, path.stat().st_size


def _write_all(file: io.FileIO, content: bytes) -> None:
    """The write that fills the volume may be short, as POSIX has it; the next one then says ENOSPC."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def test_enospc_and_back(small: Volume) -> None:
    """Dd and cp get ENOSPC; what was there is whole; rm works and frees; it can be filled again; fsck is clean."""
    kept = os.urandom(20 * MIB)
    with (small.path / "kept").open("xb", buffering=0) as file:
        assert file.write(kept) == len(kept)
        os.fsync(file.fileno())
    used = small.ask("status")["space"]["used"]
    assert used == len(kept), "what was fsynced is stored, so the room that is left does not count it"
    time.sleep(0.2)  # the figures of statfs are a tenth of a second old at most
    empty = _available(small)
    assert empty > 150 * MIB
    said, first = _fill(small.path / "large")
    assert "No space left on device" in said
    assert first > 0.8 * empty
    (small.root / "source").write_bytes(os.urandom(30 * MIB))
    copied = run("cp", small.root / "source", small.path / "copy", check=False)
    assert copied.returncode == 1
    assert "No space left on device" in copied.stderr
    assert (small.path / "kept").read_bytes() == kept
    assert (small.path / "large").stat().st_size == first
    assert len((small.path / "large").read_bytes()) == first, "every byte that is said to be there can be read"
    run("rm", small.path / "large", small.path / "copy")
    wait_until(lambda: _available(small) > 0.95 * empty, "the room has come back")
    said, second = _fill(small.path / "again")
    assert "No space left on device" in said
    assert second > 0.8 * empty
    (small.path / "again").unlink()
    small.assert_sound()
    small.remount()
    assert (small.path / "kept").read_bytes() == kept
    small.assert_sound()


def test_what_fits_is_whole(small: Volume) -> None:
    """Files until there is no room: each one whose fsync returned reads back, over a kill and a remount."""
    digests: dict[str, bytes] = {}
    refused: set[int | None] = set()
    for number in range(400):
        content = os.urandom(2 * MIB + number)
        try:
            with (small.path / f"{number}").open("xb", buffering=0) as file:
                _write_all(file, content)
                os.fsync(file.fileno())
        except OSError as error:
            refused.add(error.errno)
            if len(digests) + 10 < number:
                break
        else:
            digests[f"{number}"] = hashlib.sha256(content).digest()
    assert refused == {errno.ENOSPC}
    assert len(digests) > 80
    small.wait_for_another_daemon(small.kill_daemon())
    small.remount()
    for name, digest in digests.items():
        assert hashlib.sha256((small.path / name).read_bytes()).digest() == digest
    for name in os.listdir(small.path):
        (small.path / name).unlink()
    wait_until(lambda: _stored(small) == 0, "all is free")
    (small.path / "new").write_bytes(b"fits")
    small.assert_sound()


@pytest.mark.parametrize("small", [160], indirect=True)
def test_many_small_files(small: Volume) -> None:
    """Small files fill it too: ENOSPC at the end, all before is whole, and removing works."""
    refused: set[int | None] = set()
    count = 0
    while not refused and count < 20_000:
        path = small.path / f"d{count // 500}" / f"{count}"
        content = b"%08d" % count * 2000
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("xb", buffering=0) as file:
                file.write(content)
                if count % 50 == 0:
                    os.fsync(file.fileno())
            count += 1
        except OSError as error:
            refused.add(error.errno)
    assert refused == {errno.ENOSPC}, f"after {count} files"
    assert count > 1000
    os.sync()
    for number in range(0, count - 200, 37):
        content = b"%08d" % number * 2000
        assert (small.path / f"d{number // 500}" / f"{number}").read_bytes() == content
    run("find", small.path, "-mindepth", "1", "-delete")
    assert os.listdir(small.path) == []
    wait_until(lambda: small.ask("status")["segments"]["live"] == 0, "all is free")
    for number in range(200):
        (small.path / f"again{number}").write_bytes(b"x" * 16_000)
    small.assert_sound()
