"""A small disk that fills up: ENOSPC and nothing worse, and what is removed makes room again."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dwd.model.ids import InodeNumber
from dwd.model.units import KIB, MIB
from tests.integration.conftest import MakeDaemon
from tests.integration.daemon import Daemon, dwd, wait_until
from tests.integration.mount_client import MountClient, Refused

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 MiB."""
    yield from _tmpfs(tmp_path / "small", "256m")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    yield from _tmpfs(tmp_path / "tiny", "40m")


def _tmpfs(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(client: MountClient, name: bytes) -> int:
    """Store until nothing fits; says how many bytes did."""
    number = client.make(name).number
    stored = 0
    for size in (4 * MIB, 256 * KIB):
        data = os.urandom(size)
        while _fits(client, number, stored, data):
            stored += size
    return stored


def _fits(client: MountClient, number: InodeNumber, offset: int, data: bytes) -> bool:
    try:
        client.store(number, offset, data)
    except Refused as refusal:
        if refusal.number != errno.ENOSPC:
            raise
        return False
    return True


def fill_disk(ballast: Path) -> None:
    """Take all that is left."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64 * KIB))


def available(client: MountClient) -> int:
    """What a new mount is told."""
    return client.reconnect().available


def test_a_full_volume_refuses_and_recovers(make_daemon: MakeDaemon, small_disk: Path) -> None:
    """Bricks and data on one small disk: ENOSPC, reads go on, unlink works, room comes back, fsck is clean; twice."""
    daemon = make_daemon(data=small_disk / "data").start()
    client = daemon.client()
    room = available(client)
    assert room > 60 * MIB
    for _ in range(2):
        stored = fill(client, b"big")
        assert stored > room * 0.8
        inode = client.lookup(b"big")
        assert inode is not None
        assert inode.size == stored
        assert len(client.read(inode.number, stored - 1000, 1000)) == 1000
        assert client.make(b"a small thing").size == 0
        daemon.assert_sound()
        daemon.restart()
        client.reconnect()
        client.unlink(b"a small thing")
        client.unlink(b"big")
        client.release(*client.reconnect().orphans)
        wait_until(lambda: not daemon.shards())
        wait_until(lambda: available(client) > room * 0.9)
    daemon.assert_sound()


def test_pipelined_stores_do_not_overrun_the_reserve(make_daemon: MakeDaemon, small_disk: Path) -> None:
    """Many at once see each other's claims: some are refused, the log keeps its room, the daemon lives."""
    daemon = make_daemon(data=small_disk / "data").start()
    client = daemon.client()
    number = client.make(b"f").number
    data = os.urandom(4 * MIB)
    refused = 0
    for batch in range(8):
        waiting = [client.send(client.storing(number, (8 * batch + i) * 4 * MIB, data), data) for i in range(8)]
        for correlation in waiting:
            refused += getattr(client.answer_to(correlation).reply, "number", 0) == errno.ENOSPC
    assert refused
    for i in range(50):
        client.make(b"%d" % i)
    assert daemon.is_alive()
    daemon.assert_sound()


def test_metadata_has_a_floor(make_daemon: MakeDaemon, tiny_disk: Path, tmp_path: Path) -> None:
    """With little room in the data folder nothing new is named, but removing goes on, over a restart too."""
    bricks = [word for i in range(3) for word in ("--brick", str(tmp_path / f"b{i}"))]
    daemon = make_daemon(*bricks, data=tiny_disk / "data").start()
    client = daemon.client()
    made: list[bytes] = []

    def fill_inline() -> None:
        for i in range(5000):
            number = client.make(b"%d" % i).number
            made.append(b"%d" % i)
            client.store_inline(number, 0, os.urandom(60_000))

    with pytest.raises(Refused) as refusal:
        fill_inline()
    assert refusal.value.number == errno.ENOSPC
    daemon.restart()
    client.reconnect()
    for name in made:
        client.unlink(name)
    client.release(*client.reconnect().orphans)
    wait_until(lambda: daemon.statistics()["orphans.waiting"] == 0)
    client.barrier()
    daemon.assert_sound()
    assert daemon.is_alive()


def test_a_data_folder_on_a_full_disk(tiny_disk: Path) -> None:
    """Making a volume there fails with a text that names the cause; with room it works."""
    fill_disk(tiny_disk / "ballast")
    result = dwd("serve", "--json", "--data", tiny_disk / "data", "--bricks", "1", timeout_s=15)
    assert result.code in {3, 4}, result
    assert "No space" in result.out or "room" in result.out or "full" in result.out, result.out
    (tiny_disk / "ballast").unlink()
    daemon = Daemon(tiny_disk / "data")
    try:
        daemon.start()
        daemon.client()
    finally:
        daemon.end()


def test_a_disk_that_others_fill_while_it_runs(make_daemon: MakeDaemon, tiny_disk: Path, tmp_path: Path) -> None:
    """Nothing answered is lost: the daemon refuses, or ends with a text, and goes on once there is room."""
    bricks = [word for i in range(3) for word in ("--brick", str(tmp_path / f"b{i}"))]
    daemon = make_daemon("--json", *bricks, data=tiny_disk / "data").start()
    client = daemon.client()
    made = [client.make(b"%d" % i) for i in range(20)]
    ballast = tiny_disk / "ballast"
    fill_disk(ballast)
    answered = []
    try:
        for i in range(300):
            client.unlink(b"%d" % i) if i < 10 else client.make(b"new%d" % i)
            answered.append(i)
    except Refused:
        pass
    except ConnectionError:
        wait_until(lambda: not daemon.is_alive())  # it hangs up only because it ends
    if not daemon.is_alive():
        assert "room" in daemon.log() or "full" in daemon.log(), daemon.log()
    ballast.unlink()
    if not daemon.is_alive():
        daemon.start()
    client.reconnect()
    for i, inode in enumerate(made):
        if i not in answered and i >= 10:
            assert client.lookup(b"%d" % i) == inode
    daemon.assert_sound()
