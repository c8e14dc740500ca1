"""Bytes in, bytes out: sizes, holes, ranges, and shards that are lost or damaged."""

import errno
import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from dwd.codec.frame import encode_header
from dwd.model.errors import BadRequest, SegmentLost
from dwd.model.ids import RequestNumber
from dwd.model.limits import (
    BLOCK_BYTES,
    FILE_BYTES_MAX,
    FRAME_PAYLOAD_BYTES_MAX,
    INLINE_BYTES_MAX,
    READ_BYTES_MAX,
    SEGMENT_BYTES_MAX,
)
from dwd.model.units import KIB, MIB
from dwd.namespace.commands import FileData
from dwd.wire.messages import Read, Store, encode_message
from tests.integration.daemon import Daemon, dwd, flip, wait_until
from tests.integration.mount_client import Refused

SIZES = (1, 63, 64, 65, 4 * BLOCK_BYTES - 1, 4 * BLOCK_BYTES, 4 * BLOCK_BYTES + 1, MIB, SEGMENT_BYTES_MAX)


def some_bytes(length: int, seed: int = 0) -> bytes:
    """The same for the same arguments."""
    return random.Random(seed * 10_000_019 + length).randbytes(length)


def test_every_size_reads_back_also_after_a_kill(daemon: Daemon) -> None:
    """Empty, single bytes, the edges of alignment and of blocks, a whole segment."""
    client = daemon.client()
    empty = client.make(b"empty")
    numbers = {size: client.make(b"f%d" % size).number for size in SIZES}
    for size, number in numbers.items():
        assert client.store(number, 0, some_bytes(size)).inodes[0].size == size

    def check() -> None:
        assert client.read_all(empty.number) == b""
        for size, number in numbers.items():
            assert client.read_all(number) == some_bytes(size)

    check()
    daemon.restart()
    client.reconnect()
    check()
    daemon.assert_sound()


def test_random_writes_truncates_and_reads_are_those_of_a_plain_file(daemon: Daemon) -> None:
    """Overwrites, holes, inline bytes and segments, cut off and grown: as a bytearray would have it."""
    draw = random.Random(7)
    client = daemon.client()
    number = client.make(b"f").number
    model = bytearray()
    for step in range(120):
        what = draw.random()
        offset = draw.randrange(300_000)
        if what < 0.2:
            client.truncate(number, offset)
            del model[offset:]
            model.extend(bytes(offset - len(model)))
            continue
        data = some_bytes(draw.choice([1, 100, 5000, 70_000]), step)
        inline = len(data) <= INLINE_BYTES_MAX and what < 0.6
        (client.store_inline if inline else client.store)(number, offset, data)
        model.extend(bytes(max(0, offset + len(data) - len(model))))
        model[offset : offset + len(data)] = data
        if step % 10 == 0:
            start, length = draw.randrange(400_000), draw.randrange(400_000)
            assert client.read(number, start, length) == model[start : start + length]
    assert client.read_all(number) == model
    daemon.restart()
    client.reconnect()
    assert client.read_all(number) == model
    daemon.assert_sound()


def test_a_read_ends_with_the_file(daemon: Daemon) -> None:
    """Beyond the end there is nothing, also far beyond it; a hole is zeros."""
    client = daemon.client()
    number = client.make(b"f").number
    client.truncate(number, 10 * KIB)
    assert client.read(number, 0, MIB) == bytes(10 * KIB)
    assert client.read(number, 10 * KIB - 1, 2) == b"\0"
    for offset in (10 * KIB, 10 * KIB + 1, 1 << 40, (1 << 63) - 1):
        assert client.read(number, offset, 100) == b""
    assert client.read(number, 5, 0) == b""


def test_one_store_may_serve_many_files(daemon: Daemon) -> None:
    """Small files share a segment, and one request."""
    client = daemon.client()
    payload = some_bytes(64 * KIB)
    numbers = [client.make(b"f%d" % i).number for i in range(64)]
    files = tuple(FileData(number, ((0, KIB, i * KIB),)) for i, number in enumerate(numbers))
    client.call(Store(client.number(), RequestNumber(0), files, durable=False), payload)
    for i, number in enumerate(numbers):
        assert client.read_all(number) == payload[i * KIB : (i + 1) * KIB]
    assert len(daemon.shards()) == 6


RANGES = {
    "beyond the payload": ((0, 100, 1),),
    "of nothing": ((0, 0, 0),),
    "of less than nothing": ((0, -1, 0),),
    "before the payload": ((0, 10, -5),),
    "before the file": ((-1, 10, 0),),
    "twice the same bytes": ((0, 60, 0), (100, 60, 40)),
}


@pytest.mark.parametrize("what", RANGES)
def test_impossible_ranges_are_refused_and_the_connection_goes_on(daemon: Daemon, what: str) -> None:
    """Nothing is stored, and nothing of it can end the daemon, now or at its next start."""
    client = daemon.client()
    number = client.make(b"f").number
    with pytest.raises(Refused, match=BadRequest.code):
        client.call(Store(client.number(), RequestNumber(0), (FileData(number, RANGES[what]),), False), b"x" * 100)
    assert client.store(number, 0, b"good").inodes[0].size == 4
    daemon.restart()
    client.reconnect()
    assert client.read_all(number) == b"good"


def test_what_would_not_fit_is_refused(daemon: Daemon) -> None:
    """Too much inline, a file beyond its largest size, a read that is too long: refused, the connection goes on."""
    client = daemon.client()
    number = client.make(b"f").number
    with pytest.raises(Refused, match=BadRequest.code):
        client.store_inline(number, 0, bytes(INLINE_BYTES_MAX + 1))
    with pytest.raises(Refused) as refusal:
        client.store_inline(number, FILE_BYTES_MAX - 1, b"xx")
    assert refusal.value.number == errno.EFBIG
    with pytest.raises(Refused) as refusal:
        client.store(number, FILE_BYTES_MAX, b"x")
    assert refusal.value.number == errno.EFBIG
    with pytest.raises(Refused) as refusal:
        client.truncate(number, FILE_BYTES_MAX + 1)
    assert refusal.value.number == errno.EFBIG
    with pytest.raises(Refused, match=BadRequest.code):
        client.call(Read(number, 0, READ_BYTES_MAX + 1))
    assert client.store(number, FILE_BYTES_MAX - 4, b"last").inodes[0].size == FILE_BYTES_MAX
    assert client.read(number, FILE_BYTES_MAX - 5, 100) == b"\0last"
    daemon.assert_sound()


def test_a_payload_over_the_limit_ends_the_connection(daemon: Daemon) -> None:
    """It is refused by its header, before its bytes come; the daemon serves others."""
    client = daemon.client()
    number = client.make(b"f").number
    body = encode_message(Store(client.number(), RequestNumber(0), (FileData(number, ((0, 1, 0),)),), False))
    client.socket.sendall(encode_header(5, len(body), FRAME_PAYLOAD_BYTES_MAX + 1) + body)
    with pytest.raises((ConnectionError, BrokenPipeError)):
        client.wait_for_push()
    client.reconnect()
    assert client.inode(number) is not None


def test_any_two_bricks_may_lose_their_shards(daemon: Daemon) -> None:
    """Fsck names them, every byte is computed from the other four, and they come back; three lost is an error."""
    client = daemon.client()
    data = some_bytes(SEGMENT_BYTES_MAX)
    number = client.make(b"f").number
    client.store(number, 0, data)
    kept = {path: path.read_bytes() for path in daemon.shards()}
    shards = list(kept)
    for pair in ((0, 1), (2, 5), (3, 4)):
        daemon.kill()  # the files that it keeps open would hide the loss
        for index in pair:
            shards[index].unlink()
        assert_found(daemon, *(shards[index] for index in pair))
        daemon.start()
        client.reconnect()
        assert client.read_all(number) == data
        assert_mended(daemon, kept, 2)
    daemon.kill()
    for index in (0, 2, 4):
        shards[index].unlink()
    daemon.start()
    client.reconnect()
    with pytest.raises(Refused, match=SegmentLost.code) as refusal:
        client.read_all(number)
    assert refusal.value.number == errno.EIO
    assert "lost-segment" in daemon.fsck().out
    assert rebuilt(daemon) == 0
    assert daemon.shards() == [shards[1], shards[3], shards[5]]


def test_flipped_bits_are_found_at_reading(daemon: Daemon) -> None:
    """In a body or in a header: fsck names both, the bytes are computed from the others, and both are mended."""
    client = daemon.client()
    data = some_bytes(MIB)
    number = client.make(b"f").number
    client.store(number, 0, data)
    kept = {path: path.read_bytes() for path in daemon.shards()}
    body, header = sorted(kept, key=lambda path: path.suffix)[1:3]  # both hold bytes of the file: it is read from them
    daemon.kill()
    flip(body, len(kept[body]) - 1000)
    flip(header, 40)
    assert_found(daemon, body, header)
    daemon.start()
    client.reconnect()
    assert client.read_all(number) == data
    assert daemon.statistics()["segments.damaged"] >= 2
    assert_mended(daemon, kept, 2)
    assert client.read_all(number) == data


def assert_found(daemon: Daemon, *shards: Path) -> None:
    """While nobody mends, fsck names each of them with its brick, and nothing else."""
    report = daemon.fsck()
    assert report.code == 1
    assert report.out.count("damaged-shard") == len(shards)
    for shard in shards:
        assert str(shard.parents[2]) in report.out


def assert_mended(daemon: Daemon, kept: Mapping[Path, bytes], count: int) -> None:
    """So many shards were rebuilt; all are byte for byte what they were, and fsck finds nothing."""
    wait_until(lambda: rebuilt(daemon) >= count)
    assert {path: path.read_bytes() for path in daemon.shards()} == kept
    daemon.assert_sound()
    assert rebuilt(daemon) <= 2 * count  # a round of healing may have seen what a read has just had mended


def rebuilt(daemon: Daemon) -> int:
    """Shards, since its start."""
    count = json.loads(dwd("heal", "status", "--json", "--data", daemon.data).out)["rebuilt_shards"]
    assert isinstance(count, int)
    return count


def test_loss_while_files_are_open_is_met_too(daemon: Daemon) -> None:
    """A shard that is damaged after it was read once, while its file is kept open."""
    client = daemon.client()
    data = some_bytes(MIB)
    number = client.make(b"f").number
    client.store(number, 0, data)
    assert client.read_all(number) == data
    for shard in daemon.shards()[:2]:
        flip(shard, 5000)
    assert client.read_all(number) == data
    assert daemon.statistics()["segments.reconstructed"] >= 1


def test_reads_are_answered_while_stores_are_slow(daemon: Daemon) -> None:
    """Requests of one connection overtake each other: a lookup does not wait for a segment's disks."""
    client = daemon.client()
    number = client.make(b"f").number
    data = some_bytes(SEGMENT_BYTES_MAX)
    stores = [client.send(client.storing(number, i * SEGMENT_BYTES_MAX, data), data) for i in range(4)]
    assert client.lookup(b"f") is not None
    assert len(client._answers) < len(stores)
    for correlation in stores:
        client.answer_to(correlation)
    assert client.read(number, 3 * SEGMENT_BYTES_MAX, 1000) == data[:1000]
