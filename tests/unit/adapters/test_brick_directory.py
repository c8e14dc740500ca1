import os
import random
import re
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import xxhash

from dwd.adapters import brick_directory, shard_files
from dwd.adapters.brick_directory import BrickDirectory, open_brick
from dwd.codec.shard_header import HEADER_BYTES, ShardHeader, decode_shard_header
from dwd.model.errors import BrickFault, CorruptShard, FormatTooNew
from dwd.model.ids import SegmentId, ShardIndex
from dwd.model.limits import BLOCK_BYTES
from dwd.ports import Brick
from tests.unit.adapters.brick import (
    BRICK,
    INDEX,
    OTHER,
    SEGMENT,
    VOLUME,
    file_of,
    flip,
    open_descriptors,
    shards,
    uncache,
)

# -- Shards ------------------------------------------------------------------------------------------------------------


def test_is_a_brick(brick: BrickDirectory) -> None:
    """The class keeps the port's promises, in type and in name."""
    port: Brick = brick
    assert port.id == BRICK


def test_shard_is_read_back_anywhere(brick: BrickDirectory) -> None:
    """Every range of the body comes back, at block borders, over them, and empty."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    size = len(body)
    edges = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES, size - 1, size]
    for start in edges:
        for end in [end for end in edges if end >= start]:
            assert brick.read(SEGMENT, INDEX, start, end - start, wait=True) == body[start:end]
            assert brick.read(SEGMENT, INDEX, start, end - start, wait=False) == body[start:end]
    assert file_of(brick).read_bytes() == page + bytes(body)


def test_whole_body_is_read_into_a_buffer(brick: BrickDirectory) -> None:
    """A buffer of the body's length gets all of it, and no file stays open; of another length it is refused."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    buffer = bytearray(len(body) + 2)
    brick.read_into(SEGMENT, INDEX, memoryview(buffer)[1:-1])
    assert buffer == b"\0" + bytes(body) + b"\0"
    assert brick.statistics().open == 0
    with pytest.raises(CorruptShard, match="its body has"):
        brick.read_into(SEGMENT, INDEX, memoryview(buffer))
    with pytest.raises(BrickFault, match="cannot read shard"):
        brick.read_into(SegmentId(1), INDEX, memoryview(buffer))


def test_shard_survives_reopening(brick: BrickDirectory) -> None:
    """Another daemon finds the shard."""
    image = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, image)
    again = open_brick(brick.path, VOLUME, BRICK)
    assert again.read(SEGMENT, INDEX, 0, len(image[1]), wait=True) == image[1]
    assert again.superblock == brick.superblock
    again.close()


def test_shard_is_never_written_over(brick: BrickDirectory) -> None:
    """A second shard of the same name is refused, and the first stays whole."""
    image = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, image)
    with pytest.raises(BrickFault, match="File exists; nothing is ever written over"):
        brick.write_shard(SEGMENT, INDEX, shards(length=64)[INDEX])
    brick.verify_shard(SEGMENT, INDEX)
    assert brick.read(SEGMENT, INDEX, 0, len(image[1]), wait=True) == image[1]


def test_missing_shard_is_a_fault_that_names_it(brick: BrickDirectory) -> None:
    """The message has brick, operation, cause and remedy; waiting or not, the answer is the same."""
    name = rf"brick {brick.path}: cannot read shard 0000010000000123\.2: No such file.*; if the disk is not mounted"
    for wait in (True, False):
        with pytest.raises(BrickFault, match=name):
            brick.read(SEGMENT, INDEX, 0, 1, wait=wait)
    with pytest.raises(BrickFault, match="cannot verify shard"):
        brick.verify_shard(SEGMENT, INDEX)


def test_removed_shard_is_gone_at_once(brick: BrickDirectory) -> None:
    """Removing forgets the open file too; removing again is no error."""
    brick.write_shard(SEGMENT, INDEX, shards()[INDEX])
    brick.read(SEGMENT, INDEX, 0, 1, wait=True)
    before = open_descriptors()
    brick.remove_shard(SEGMENT, INDEX)
    assert open_descriptors() == before - 1
    with pytest.raises(BrickFault):
        brick.read(SEGMENT, INDEX, 0, 1, wait=True)
    brick.remove_shard(SEGMENT, INDEX)


def test_list_shards_passes_over_what_is_none(brick: BrickDirectory) -> None:
    """All shards are listed; foreign names, and shards in a folder that is not theirs, are not."""
    expected = set()
    for number in (1, 2, 255, 256, 0xFF_FFFFFFFFFFFF):
        for index in (0, 5, 31):
            image = shards(SegmentId(number), 10)[0]
            brick.write_shard(SegmentId(number), ShardIndex(index), image)
            expected.add((number, index))
    for name in ("0000000000000001.05", "0000000000000002.0", "x", "000000000000000G.1", "0000000000000001.new"):
        (brick.path / "shards" / "01" / name).touch()
    assert sorted(brick.list_shards()) == sorted(expected)


def test_space_is_that_of_the_device(brick: BrickDirectory) -> None:
    """The figures are the file system's own, for unprivileged users."""
    room = os.statvfs(brick.path)
    space = brick.space()
    assert space.total == room.f_blocks * room.f_frsize
    assert abs(space.free - room.f_bavail * room.f_frsize) < 1 << 30  # others write to this disk meanwhile
    assert space.device == brick.path.stat().st_dev


def test_space_of_a_vanished_brick_is_a_fault(brick: BrickDirectory) -> None:
    """A brick whose folder is gone says so."""
    shutil.rmtree(brick.path)
    with pytest.raises(BrickFault, match="cannot ask for its free space: No such file"):
        brick.space()
    with pytest.raises(BrickFault, match="cannot list its shards"):
        list(brick.list_shards())


# -- Damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(4))
def test_flipped_byte_of_the_body_is_found_by_the_reads_that_touch_its_block(brick: BrickDirectory, block: int) -> None:
    """A read of a damaged block fails, naming it; reads of the others go on."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    at = min(block * BLOCK_BYTES + 5000, len(body) - 1)
    flip(file_of(brick), HEADER_BYTES + at)
    for wait in (True, False):
        for start in range(0, len(body), BLOCK_BYTES):
            if start // BLOCK_BYTES == block:
                with pytest.raises(CorruptShard, match=rf"brick 3 .*shard 0000010000000123\.2: block {block} "):
                    brick.read(SEGMENT, INDEX, start, 1, wait=wait)
            else:
                assert brick.read(SEGMENT, INDEX, start, 1, wait=wait) == body[start : start + 1]
    with pytest.raises(CorruptShard, match=f"block {block} "):
        brick.verify_shard(SEGMENT, INDEX)


def test_flipped_bytes_anywhere_in_the_file_are_found(brick: BrickDirectory) -> None:
    """Header or body, reading all of the shard finds each flipped byte, and so does verifying."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    chance = random.Random(1)
    body_sample = [HEADER_BYTES + at for at in chance.sample(range(len(body)), 20)]
    for at in [*chance.sample(range(HEADER_BYTES), 20), *body_sample]:
        flip(file_of(brick), at)
        again = BrickDirectory(brick.path, brick.superblock)
        with pytest.raises(CorruptShard):
            again.read(SEGMENT, INDEX, 0, len(body), wait=True)
        with pytest.raises(CorruptShard):
            again.verify_shard(SEGMENT, INDEX)
        with pytest.raises(CorruptShard):
            again.read_into(SEGMENT, INDEX, memoryview(bytearray(len(body))))
        again.close()
        flip(file_of(brick), at)
    brick.verify_shard(SEGMENT, INDEX)


@pytest.mark.parametrize("size", [0, 100, HEADER_BYTES, HEADER_BYTES + BLOCK_BYTES, -1, 1])
def test_cut_or_lengthened_file_is_found(brick: BrickDirectory, size: int) -> None:
    """What a power cut leaves of a shard is never taken for one."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    whole = HEADER_BYTES + len(body)
    os.truncate(file_of(brick), size if size > 1 else (whole + size) * bool(size))
    with pytest.raises(CorruptShard, match=r"the file (ends|has)"):
        brick.read(SEGMENT, INDEX, 0, 1, wait=True)
    with pytest.raises(CorruptShard, match=r"the file (ends|has)"):
        brick.verify_shard(SEGMENT, INDEX)
    with pytest.raises(CorruptShard, match=r"the file (ends|has)"):
        brick.read_into(SEGMENT, INDEX, memoryview(bytearray(len(body))))


def test_another_shard_under_this_name_is_found(brick: BrickDirectory) -> None:
    """A whole shard, but of another volume, segment or index, is corrupt, and the message says what it is."""
    wrong = {
        "other volume": shards(volume=OTHER)[INDEX],
        "other segment": shards(SegmentId(77))[INDEX],
        "other index": shards()[1],
    }
    for image in wrong.values():
        brick.write_shard(SEGMENT, INDEX, image)
        with pytest.raises(CorruptShard, match=r"the file holds shard .* of volume"):
            brick.read(SEGMENT, INDEX, 0, 1, wait=True)
        with pytest.raises(CorruptShard, match=r"the file holds shard .* of volume"):
            brick.read_into(SEGMENT, INDEX, memoryview(bytearray(len(image[1]))))
        brick.remove_shard(SEGMENT, INDEX)


@pytest.mark.parametrize(("offset", "length"), [(0, 1 << 20), (1 << 20, 1), (-1, 2)])
def test_range_outside_the_body_is_corrupt(brick: BrickDirectory, offset: int, length: int) -> None:
    """An extent that claims more than the shard holds gets an error, not a short answer."""
    brick.write_shard(SEGMENT, INDEX, shards()[INDEX])
    with pytest.raises(CorruptShard, match="are asked for of a body"):
        brick.read(SEGMENT, INDEX, offset, length, wait=True)


def test_shard_of_a_newer_version_is_refused(brick: BrickDirectory) -> None:
    """A newer format is told from damage, and where it is."""
    page, body = shards()[INDEX]
    newer = page[:8] + struct.pack("<I", 2) + page[12:-8]
    newer += struct.pack("<Q", xxhash.xxh3_64_intdigest(newer))
    brick.write_shard(SEGMENT, INDEX, (newer, body))
    with pytest.raises(FormatTooNew, match=r"brick 3 .*: format version 2"):
        brick.read(SEGMENT, INDEX, 0, 1, wait=True)


def test_mended_shard_is_read_anew(brick: BrickDirectory) -> None:
    """After removing and rewriting a damaged shard, no read sees the old file."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    brick.read(SEGMENT, INDEX, 0, 1, wait=True)
    flip(file_of(brick), HEADER_BYTES)
    with pytest.raises(CorruptShard):
        brick.read(SEGMENT, INDEX, 0, 1, wait=True)
    brick.remove_shard(SEGMENT, INDEX)
    brick.write_shard(SEGMENT, INDEX, (page, body))
    assert brick.read(SEGMENT, INDEX, 0, len(body), wait=True) == body


# -- Reading without waiting -------------------------------------------------------------------------------------------


def test_without_waiting_cold_bytes_are_not_read(brick: BrickDirectory) -> None:
    """None when header or body are not in memory, and the bytes once they are."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    uncache(file_of(brick))
    assert brick.read(SEGMENT, INDEX, 0, 10, wait=False) is None
    assert brick.read(SEGMENT, INDEX, 0, 10, wait=True) == body[:10]
    uncache(file_of(brick))
    assert brick.read(SEGMENT, INDEX, 2 * BLOCK_BYTES, 10, wait=False) is None
    assert brick.read(SEGMENT, INDEX, 2 * BLOCK_BYTES, 10, wait=True) == body[2 * BLOCK_BYTES :][:10]
    assert brick.read(SEGMENT, INDEX, 2 * BLOCK_BYTES, 10, wait=False) == body[2 * BLOCK_BYTES :][:10]


def test_without_waiting_a_failed_answer_costs_no_descriptor(brick: BrickDirectory) -> None:
    """What would wait closes what it opened."""
    segments = [SegmentId(number) for number in range(4)]
    for segment in segments:
        brick.write_shard(segment, INDEX, shards(segment)[INDEX])
        uncache(file_of(brick, segment))
    before = open_descriptors()
    for segment in segments:
        assert brick.read(segment, INDEX, 0, 10, wait=False) is None
    assert open_descriptors() == before


# -- Open files --------------------------------------------------------------------------------------------------------


def test_open_files_are_bounded(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently read shard is closed when the bound is passed; close() closes the rest."""
    monkeypatch.setattr(shard_files, "OPEN_SHARDS_MAX", 3)
    before = open_descriptors()
    for number in range(6):
        brick.write_shard(SegmentId(number), INDEX, shards(SegmentId(number), 64)[INDEX])
        brick.read(SegmentId(number), INDEX, 0, 1, wait=True)
        brick.read(SegmentId(0), INDEX, 0, 1, wait=True)
    assert open_descriptors() == before + 3
    assert brick.statistics() == shard_files.OpenShardsStatistics(open=3, hits=6, misses=6)
    brick.close()
    assert open_descriptors() == before


@pytest.mark.parametrize("damage_at", [100, HEADER_BYTES])
def test_damaged_shard_costs_no_descriptor(brick: BrickDirectory, damage_at: int) -> None:
    """A read that fails closes what it opened, whether the header or the body is damaged."""
    brick.write_shard(SEGMENT, INDEX, shards()[INDEX])
    flip(file_of(brick), damage_at)
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(CorruptShard):
            brick.read(SEGMENT, INDEX, 0, 1, wait=True)
        with pytest.raises(CorruptShard):
            brick.verify_shard(SEGMENT, INDEX)
    assert open_descriptors() == before


def test_file_is_not_closed_under_a_reader(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard removed while another thread reads it is read to the end, and only then closed."""
    page, body = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    brick.read(SEGMENT, INDEX, 0, 1, wait=True)
    reading, removed = threading.Event(), threading.Event()
    read = brick_directory._read

    def slow_read(fd: int, offset: int, length: int) -> bytes:
        reading.set()
        assert removed.wait(10)
        return read(fd, offset, length)

    monkeypatch.setattr(brick_directory, "_read", slow_read)
    before = open_descriptors()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(brick.read, SEGMENT, INDEX, 0, len(body), wait=True)
        assert reading.wait(10)
        brick.remove_shard(SEGMENT, INDEX)
        with (brick.path / "superblock").open("rb"):  # would take the number, were it free
            removed.set()
            assert answer.result() == body
    assert open_descriptors() == before - 1


def test_shard_dropped_while_being_opened_is_not_kept(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was removed between its opening and its keeping is not found again by later readers."""
    brick.write_shard(SEGMENT, INDEX, shards()[INDEX])
    decode = decode_shard_header

    def decode_while_removed(page: bytes) -> ShardHeader:
        brick.remove_shard(SEGMENT, INDEX)
        return decode(page)

    monkeypatch.setattr(brick_directory, "decode_shard_header", decode_while_removed)
    before = open_descriptors()
    assert brick.read(SEGMENT, INDEX, 0, 1, wait=True) is not None
    assert open_descriptors() == before
    with pytest.raises(BrickFault):
        brick.read(SEGMENT, INDEX, 0, 1, wait=True)


def test_threads_read_write_and_remove_together(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under eviction and removal from six threads each answer is the right bytes or a missing shard."""
    monkeypatch.setattr(shard_files, "OPEN_SHARDS_MAX", 4)
    images = {SegmentId(n): shards(SegmentId(n), 4 * 700)[INDEX] for n in range(12)}
    before = open_descriptors()
    faults: list[str] = []

    def work(seed: int) -> int:
        chance, answers = random.Random(seed), 0
        for _ in range(120):
            segment = SegmentId(chance.randrange(12))
            try:
                match chance.randrange(8):
                    case 0:
                        brick.write_shard(segment, INDEX, images[segment])
                    case 1:
                        brick.remove_shard(segment, INDEX)
                    case way:
                        data = brick.read(segment, INDEX, 5, 600, wait=way % 2 == 0)
                        assert data is None or data == images[segment][1][5:605]
                        answers += data is not None
            except (BrickFault, CorruptShard) as fault:
                faults.append(str(fault))
        return answers

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) > 50
    # "the file ..." is a shard that another thread is still writing
    assert all(re.search("No such file|File exists|the file (ends|has)", fault) for fault in faults)
    brick.close()
    assert open_descriptors() == before
