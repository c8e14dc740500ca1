"""Metadata mirrors of a real daemon: what was acknowledged outlives the data folder, a full mirror, a kill."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import MakeDaemon
from tests.integration.daemon import Daemon, dwd, wait_until

BODY = b"x" * 5000


def status(daemon: Daemon) -> dict[str, Any]:
    """What the daemon says of itself."""
    report: dict[str, Any] = json.loads(dwd("status", "--json", "--data", daemon.data).out)
    return report


def counting(daemon: Daemon) -> int:
    """How often it said that a brick is a mirror now."""
    return daemon.log().count("is a metadata mirror now")


def fill(daemon: Daemon, count: int, prefix: bytes = b"f") -> None:
    """Files that are durable when this returns."""
    client = daemon.client()
    for i in range(count):
        client.store(client.make(prefix + b"%d" % i).number, 0, BODY)
    client.barrier()
    client.close()


def assert_there(daemon: Daemon, count: int, prefix: bytes = b"f") -> None:
    """All of them, byte for byte."""
    client = daemon.client()
    for i in range(count):
        inode = client.lookup(prefix + b"%d" % i)
        assert inode is not None
        assert client.read_all(inode.number) == BODY
    client.close()


@pytest.fixture
def mirrored(make_daemon: MakeDaemon) -> Daemon:
    """Three mirrors on the device of everything else."""
    daemon = make_daemon("--metadata-mirrors", "3").start()
    wait_until(lambda: counting(daemon) == 3)
    assert status(daemon)["problems"] == []
    return daemon


def test_without_mirrors_nothing_is_written_for_them(daemon: Daemon) -> None:
    """One device: no copies, and status does not complain."""
    fill(daemon, 2)
    assert list(daemon.data.glob("bricks/*/metadata")) == []
    assert not (daemon.data / "mirrors").exists()
    assert status(daemon)["problems"] == []


@pytest.mark.parametrize("gone", [("identity", "wal", "store", "mirrors"), ("wal",), ("store",), ("identity",)])
def test_a_lost_data_folder_is_restored_after_a_kill(mirrored: Daemon, gone: tuple[str, ...]) -> None:
    """With two of the three mirrors gone as well; then there are three again."""
    fill(mirrored, 20)
    mirrored.kill()
    for name in gone:
        path = mirrored.data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for index in (0, 2):
        shutil.rmtree(mirrored.brick(index) / "metadata")
    mirrored.options = ()
    mirrored.start()
    assert_there(mirrored, 20)
    assert "restored from the mirror on brick 2" in mirrored.log()
    wait_until(lambda: counting(mirrored) >= 5, 30)
    mirrored.assert_sound()
    fill(mirrored, 5, b"g")
    mirrored.restart()
    assert_there(mirrored, 20)
    assert_there(mirrored, 5, b"g")


def test_a_mirror_that_is_deleted_is_replaced(mirrored: Daemon) -> None:
    """The daemon goes on, says so, and takes another brick."""
    fill(mirrored, 5)
    shutil.rmtree(mirrored.brick(0) / "metadata")
    fill(mirrored, 5, b"g")
    wait_until(lambda: counting(mirrored) == 4, 30)
    assert "metadata mirror on brick 1 is lost" in mirrored.log()
    assert (mirrored.brick(3) / "metadata" / "wal").is_dir()
    mirrored.kill()
    shutil.rmtree(mirrored.data / "wal")
    mirrored.start()
    assert_there(mirrored, 5)
    assert_there(mirrored, 5, b"g")


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[Path]]:
    """Three devices: the third is small."""
    made = []
    try:
        for i, size in enumerate(("300m", "300m", "40m")):
            path = tmp_path / f"disk{i}"
            path.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
            made.append(path)
        yield made
    finally:
        for path in made:
            subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.mount
def test_distinct_devices_are_used_by_themselves(make_daemon: MakeDaemon, disks: list[Path]) -> None:
    """Without a word; a mirror whose disk gets full is dropped, and a new data folder finds the volume."""
    options = [word for disk in disks for word in ("--brick", str(disk / "brick"))]
    daemon = make_daemon(*options).start()
    wait_until(lambda: counting(daemon) == 3)
    fill(daemon, 10)
    filler = disks[2] / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(64 << 20))
    client = daemon.client()
    for i in range(12_000):
        client.make(b"small%d" % i)
    client.barrier()
    client.close()
    assert "metadata mirror on brick 3 is lost" in daemon.log()
    assert "no room for the log" in daemon.log()
    daemon.kill()
    shutil.rmtree(daemon.data)
    filler.unlink()
    daemon.start()
    assert_there(daemon, 10)
    assert re.search("restored from the mirror on brick [12]:", daemon.log())
    client = daemon.client()
    assert client.lookup(b"small11999") is not None


def test_a_new_data_folder_takes_nothing_from_a_living_daemon(mirrored: Daemon, tmp_path: Path) -> None:
    """Its bricks are its own while it lives, wherever they are named."""
    options = [word for i in range(6) for word in ("--brick", mirrored.brick(i))]
    result = dwd("serve", "--json", "--data", tmp_path / "thief", *options)
    assert result.code == 3, result
    assert result.error["code"] == "data-busy"
    fill(mirrored, 3)
