"""What nobody needs goes: orphans, dead segments, half-dead segments, bytes in the log."""

import random
from collections.abc import Sequence

import pytest

from dwd.model.ids import InodeNumber, RequestNumber
from dwd.model.units import KIB, MIB
from dwd.namespace.commands import FileData
from dwd.wire.messages import Store
from tests.integration.daemon import Daemon, wait_until
from tests.integration.mount_client import MountClient


def test_an_unlinked_file_lives_while_it_is_held_also_over_a_kill(daemon: Daemon) -> None:
    """Its bytes are readable until the mount releases it; then it is reaped, and its shards go."""
    client = daemon.client()
    inode = client.make(b"f")
    data = b"held" * 10_000
    client.store(inode.number, 0, data)
    assert client.unlink(b"f").orphans == (inode.number,)
    assert client.read_all(inode.number) == data
    daemon.restart()
    assert client.reconnect().orphans == (inode.number,)
    assert client.read_all(inode.number) == data
    daemon.assert_sound()
    client.release(inode.number)
    wait_until(lambda: not daemon.shards())
    assert client.inode(inode.number) is None
    assert daemon.statistics()["orphans.reaped"] == 1
    daemon.assert_sound()


def test_a_directory_that_is_removed_while_it_is_held(daemon: Daemon) -> None:
    """An orphan needs no bytes to be one; a reused name is another inode."""
    client = daemon.client()
    first = client.make(b"name")
    client.unlink(b"name")
    second = client.make(b"name")
    assert second.number != first.number
    assert client.inode(first.number) is not None
    client.release(first.number)
    wait_until(lambda: client.inode(first.number) is None)
    assert client.lookup(b"name") == second


def test_overwritten_segments_are_removed(daemon: Daemon) -> None:
    """Only what living bytes point at stays on the bricks, and the figures follow."""
    client = daemon.client()
    number = client.make(b"f").number
    for i in range(10):
        client.store(number, 0, bytes([i]) * MIB)
    wait_until(lambda: len(daemon.shards()) == 6)
    assert client.read_all(number) == b"\x09" * MIB
    client.truncate(number, 0)
    wait_until(lambda: not daemon.shards())
    wait_until(lambda: daemon.statistics()["garbage.segments_removed"] == 10)
    daemon.assert_sound()


def pack(client: MountClient, numbers: Sequence[InodeNumber], payload: bytes, size: int) -> None:
    """One segment with a piece for each file."""
    files = tuple(FileData(n, ((0, size, i * size),)) for i, n in enumerate(numbers))
    client.call(Store(client.number(), RequestNumber(0), files, durable=False), payload)


@pytest.mark.slow
def test_half_dead_segments_are_compacted(daemon: Daemon) -> None:
    """Of many small files in shared segments most are overwritten: the rest moves together, and every byte is right."""
    draw = random.Random(3)
    client = daemon.client()
    size, count = 16 * KIB, 128
    model: dict[InodeNumber, bytes] = {}
    segments = []
    for s in range(4):
        numbers = [client.make(b"%d-%d" % (s, i)).number for i in range(count)]
        payload = draw.randbytes(size * count)
        pack(client, numbers, payload, size)
        model |= {n: payload[i * size : (i + 1) * size] for i, n in enumerate(numbers)}
        segments.append(numbers)
    for numbers in segments:
        victims = list(numbers[: count * 2 // 3])
        payload = draw.randbytes(size * len(victims))
        pack(client, victims, payload, size)
        model |= {n: payload[i * size : (i + 1) * size] for i, n in enumerate(victims)}
    wait_until(lambda: daemon.statistics()["repacker.bytes_moved"] > 0, 15)
    wait_until(lambda: len(daemon.shards()) <= 6 * 6, 15)
    for number, data in model.items():
        assert client.read_all(number) == data
    daemon.assert_sound()
    daemon.restart()
    client.reconnect()
    for number, data in model.items():
        assert client.read_all(number) == data
    daemon.assert_sound()


@pytest.mark.slow
def test_inline_bytes_are_moved_to_segments(daemon: Daemon) -> None:
    """Above the high mark the log's bytes go to the bricks, while they can be read and changed."""
    client = daemon.client()
    model: dict[InodeNumber, bytes] = {}
    for i in range(400):
        number = client.make(b"%d" % i).number
        model[number] = random.Random(i).randbytes(60_000)
        client.store_inline(number, 0, model[number])
    changed = next(iter(model))
    model[changed] = b"new" + model[changed][3:]
    client.store_inline(changed, 0, b"new")
    wait_until(lambda: daemon.statistics()["repacker.segments_written"] >= 2, 15)
    for number, data in model.items():
        assert client.read_all(number) == data
    daemon.restart()
    client.reconnect()
    for number, data in model.items():
        assert client.read_all(number) == data
    daemon.assert_sound()


def test_shards_that_no_record_names_are_swept_at_the_next_start(daemon: Daemon) -> None:
    """What a crash between bricks and log leaves behind: fsck names it, and a start removes it."""
    client = daemon.client()
    number = client.make(b"f").number
    client.store(number, 0, b"x" * 1000)
    shard = daemon.shards()[0]
    stray = shard.with_name(f"{(1 << 40) + 0x1000 + int(shard.parent.name, 16):016x}.0")
    stray.write_bytes(shard.read_bytes())
    report = daemon.fsck()
    assert report.code == 1
    assert "stray-shard" in report.out
    daemon.restart()
    wait_until(lambda: not stray.exists())
    assert len(daemon.shards()) == 6
    daemon.assert_sound()


def test_fsck_while_everything_changes_finds_nothing(daemon: Daemon) -> None:
    """No false alarm: segments that come and go under its eyes are no findings."""
    client = daemon.client()
    numbers = [client.make(b"%d" % i).number for i in range(8)]
    data = b"z" * 300_000
    for _ in range(4):
        waiting = []
        for number in numbers * 6:
            waiting.append(client.send(client.storing(number, 0, data), data))
            if len(waiting) >= 16:
                client.answer_to(waiting.pop(0))
        daemon.assert_sound()
        for correlation in waiting:
            client.answer_to(correlation)
