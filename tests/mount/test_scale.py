"""Many files: listings are complete and take time in proportion, and memory stays bounded."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mount.volume import Volume, rss_bytes, run

pytestmark = [pytest.mark.mount, pytest.mark.slow]

MIB = 1 << 20
_RSS_BYTES_MAX = 300 * MIB
_LARGE_MIB = int(os.environ.get("DWFS_TEST_LARGE_GIB", "1")) * 1024
_FEW, _MANY = 10_000, 100_000
_REST = max(0, int(os.environ.get("DWFS_TEST_FILES", "110000")) - _FEW - _MANY)
_CREATE_PROGRAM = """
import os, sys
folder, count = sys.argv[1], int(sys.argv[2])
os.mkdir(folder)
for number in range(count):
    os.close(os.open(f"{folder}/file-{number:06}", os.O_CREAT | os.O_WRONLY | os.O_EXCL))
"""


@pytest.fixture(name="crowd", scope="module")
def make_many_files(shared: Volume) -> Volume:
    """DWFS_TEST_FILES (110,000) in three directories."""
    makers = [
        subprocess.Popen([sys.executable, "-c", _CREATE_PROGRAM, str(shared.path / name), str(count)])
        for name, count in (("few", _FEW), ("many", _MANY), ("rest", _REST))
    ]
    assert [maker.wait(600) for maker in makers] == [0, 0, 0]
    return shared


def _listing_s(folder: Path, count: int) -> float:
    """Seconds per entry, of a listing that must be complete."""
    start = time.perf_counter()
    names = os.listdir(folder)
    took = time.perf_counter() - start
    assert len(names) == count
    assert set(names) == {f"file-{number:06}" for number in range(count)}
    return took / count


def test_listing_of_100_000_is_complete_and_linear(crowd: Volume) -> None:
    """An entry of a directory of 100,000 takes less than five times as long as one of 10,000; squares would be ten."""
    rounds = [(_listing_s(crowd.path / "few", _FEW), _listing_s(crowd.path / "many", _MANY)) for _ in range(5)]
    few, many = (min(figures) for figures in zip(*rounds, strict=True))
    assert many < 5 * few, f"{few * 1e6:.1f} and {many * 1e6:.1f} µs an entry"


def test_memory_stays_bounded(crowd: Volume) -> None:
    """With all files made and listed and a large one copied, each process has less than 300 MiB."""
    path, copy = crowd.root / "large", crowd.path / "large"
    base = bytearray(os.urandom(MIB))
    with path.open("wb") as file:
        for number in range(_LARGE_MIB):
            base[:8] = number.to_bytes(8, "big")
            file.write(base)
    run("cp", path, copy)
    run("cp", copy, crowd.path / "again")
    sums = run("sha256sum", path, crowd.path / "again").stdout.split()
    assert sums[0] == sums[2]
    assert len(sums[0]) == hashlib.sha256().digest_size * 2
    shown = {name: rss_bytes(pid) // MIB for name, pid in (("dwd", crowd.daemon()), ("dwfs", crowd.pid))}
    assert all(size * MIB < _RSS_BYTES_MAX for size in shown.values()), f"{shown} MiB"
    path.unlink()


def test_all_is_there_after_a_remount(crowd: Volume) -> None:
    """Every one of the files is there for a daemon and a mount that are new."""
    crowd.unmount()
    crowd.stop_daemon()
    crowd.mount()
    assert [len(os.listdir(crowd.path / name)) for name in ("few", "many", "rest")] == [_FEW, _MANY, _REST]
    assert crowd.ask("status")["inodes"] >= _FEW + _MANY + _REST
