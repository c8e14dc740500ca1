"""Metadata mirrors as a user sees them: a mount goes on although the data folder has lost its metadata."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.mount.volume import Volume, run, wait_until


def _disks(volume: Volume, count: int) -> list[Path]:
    """File systems of their own, which go when the volume goes."""
    disks = [volume.root / f"disk{i}" for i in range(count)]
    for disk in disks:
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", disk)
        volume.devices.append(disk)
    return disks


def _mirrors(volume: Volume) -> int:
    return (volume.data / "dwd.log").read_text(encoding="utf-8").count("is a metadata mirror now")


def test_the_mount_outlives_the_loss_of_all_other_metadata(volumes: Callable[[], Volume]) -> None:
    """Two of three mirrors, and identity, log and state store in the data folder: what was fsynced is there."""
    volume = volumes()
    volume.announce(r"metadata mirror on brick \d cannot be used")
    disks = _disks(volume, 3)
    volume.mount(*(word for disk in disks for word in ("--brick", str(disk / "brick"))))
    wait_until(lambda: _mirrors(volume) == 3, "there are three mirrors", 20)
    sums = {}
    for i in range(30):
        content = os.urandom(10_000 + 1000 * i)
        sums[i] = hashlib.sha256(content).digest()
        with (volume.path / f"file{i}").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    killed = volume.kill_daemon()
    for name in ("identity", "mirrors"):
        (volume.data / name).unlink()
    for name in ("wal", "store"):
        shutil.rmtree(volume.data / name)
    for disk in disks[:2]:
        shutil.rmtree(disk / "brick" / "metadata")
    volume.wait_for_another_daemon(killed)
    for i, expected in sums.items():
        assert hashlib.sha256((volume.path / f"file{i}").read_bytes()).digest() == expected
    (volume.path / "after").write_bytes(b"and it goes on")
    volume.remount()
    assert (volume.path / "after").read_bytes() == b"and it goes on"
    assert len(list(volume.path.iterdir())) == 31
    volume.assert_sound()
