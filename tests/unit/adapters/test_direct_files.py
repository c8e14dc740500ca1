"""Writing around the page cache."""

import errno
import mmap
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from dwd.adapters import brick_directory
from dwd.adapters.brick_directory import BrickDirectory
from dwd.adapters.direct_files import DIRECT_BYTES_MIN, Staging, can_go_around
from dwd.adapters.durable_files import create_file
from dwd.model.errors import BrickFault, CorruptShard, NoSpace
from dwd.model.ids import SegmentId, ShardIndex
from tests.unit.adapters.brick import INDEX, SEGMENT, cached_pages, file_of, flip, shards

LENGTHS = (1, 4095, 4096, 4097, 300_000, 1 << 20, (1 << 20) + 4096)


def contents(length: int) -> bytes:
    """Bytes that are the same each time."""
    return random.Random(length).randbytes(length)


def test_the_bytes_are_those_that_were_given(tmp_path: Path) -> None:
    """Of any length, of parts at any address, also in a buffer that a longer file has used."""
    staging = Staging()
    for number, length in enumerate(sorted(LENGTHS, reverse=True)):
        data = contents(length)
        cut = length // 3
        create_file(tmp_path / str(number), [data[:cut], memoryview(data)[cut:]], staging)
        assert (tmp_path / str(number)).read_bytes() == data


def test_nothing_stays_in_the_page_cache(tmp_path: Path) -> None:
    """Which is what it is for."""
    create_file(tmp_path / "around", [contents(1 << 20)], Staging())
    create_file(tmp_path / "through", [contents(1 << 20)])
    assert cached_pages(tmp_path / "around") == 0
    assert cached_pages(tmp_path / "through") == 256


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full takes a part; nothing of it stays."""
    real = os.pwrite

    def half(fd: int, data: memoryview, at: int) -> int:
        if at:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data[: len(data) // 2], at)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(OSError, match="full"):
        create_file(tmp_path / "file", [contents(1 << 20)], Staging())
    assert not list(tmp_path.iterdir())


def test_a_short_write_goes_on_at_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk did not take whole is given again."""
    real = os.pwrite

    def short(fd: int, data: memoryview, at: int) -> int:
        return real(fd, data[:8192], at) - 100 if len(data) > 8192 else real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", short)
    create_file(tmp_path / "file", [contents(50_000)], Staging())
    assert (tmp_path / "file").read_bytes() == contents(50_000)


def test_where_there_is_no_such_way_the_cache_is_used(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses after all is not asked again; what goes wrong otherwise is told."""
    body = contents(DIRECT_BYTES_MIN)
    asked = []

    def refuse(code: int) -> None:
        def write(*_: object) -> None:
            asked.append(code)
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(Staging, "write", write)

    refuse(errno.ENOSPC)
    with pytest.raises(NoSpace):
        brick.write_shard(SegmentId(1), ShardIndex(0), [body])
    refuse(errno.EINVAL)
    for number in (1, 2):
        brick.write_shard(SegmentId(number), ShardIndex(0), [body])
        assert (brick.path / f"shards/0{number}/{number:016x}.0").read_bytes() == body
    assert asked == [errno.ENOSPC, errno.EINVAL]


def test_only_long_shards_go_around(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short ones are read soon, and cost little."""
    monkeypatch.setattr(brick_directory, "DIRECT_BYTES_MIN", 100)
    seen: list[int] = []
    real = Staging.write

    def write(self: Staging, fd: int, parts: Sequence[bytes]) -> None:
        seen.append(len(parts[0]))
        real(self, fd, parts)

    monkeypatch.setattr(Staging, "write", write)
    for number, length in ((1, 99), (2, 100)):
        brick.write_shard(SegmentId(number), ShardIndex(0), [contents(length)])
    assert seen == [100]


def test_a_file_system_tells_beforehand(tmp_path: Path) -> None:
    """Nothing is written to find out; a file that is not there is no answer."""
    (tmp_path / "file").touch()
    assert can_go_around(tmp_path / "file") in {True, False}
    with pytest.raises(FileNotFoundError):
        can_go_around(tmp_path / "none")


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("length", [4 * 300_032, 4 * (1 << 20), 4 * DIRECT_BYTES_MIN - 7])
def test_a_body_is_read_around_the_cache(brick: BrickDirectory, length: int, aligned: bool) -> None:
    """Into memory that begins at a page, its pages do not stay; whatever the memory, the bytes are verified."""
    page, body = shards(length=length)[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    memory = memoryview(mmap.mmap(-1, len(body) + 4096))
    buffer = memory[: len(body)] if aligned else memory[8 : 8 + len(body)]
    brick.read_into(SEGMENT, INDEX, buffer)
    assert buffer == body
    assert (cached_pages(file_of(brick)) < 10) == (aligned and len(body) >= DIRECT_BYTES_MIN)
    flip(file_of(brick), len(page) + len(body) - 1)
    with pytest.raises(CorruptShard, match="block"):
        brick.read_into(SEGMENT, INDEX, buffer)


def test_a_disk_that_refuses_to_be_read_so_is_read_through_the_cache(
    brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not asked again; any other failure is told."""
    page, body = shards(length=4 << 20)[INDEX]
    brick.write_shard(SEGMENT, INDEX, (page, body))
    buffer = memoryview(mmap.mmap(-1, len(body)))
    real = os.preadv

    def refuse(code: int) -> None:
        def preadv(fd: int, parts: list[memoryview], at: int) -> int:
            if len(parts) == 2:
                raise OSError(code, os.strerror(code))
            return real(fd, parts, at)

        monkeypatch.setattr(os, "preadv", preadv)

    refuse(errno.EIO)
    with pytest.raises(BrickFault):
        brick.read_into(SEGMENT, INDEX, buffer)
    refuse(errno.EINVAL)
    brick.read_into(SEGMENT, INDEX, buffer)
    assert buffer == body
