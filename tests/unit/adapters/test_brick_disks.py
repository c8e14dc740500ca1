"""Bricks on disks that are full, failing or read-only."""

import errno
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dwd.adapters.brick_directory import BrickDirectory, create_brick, open_brick
from dwd.codec.blocks import block_checksums
from dwd.codec.shard_header import ShardHeader, encode_shard_header
from dwd.model.errors import BrickFault, NoSpace
from dwd.model.ids import SegmentId
from dwd.model.protection import Protection
from tests.unit.adapters.brick import (
    BRICK,
    INDEX,
    SEGMENT,
    VOLUME,
    file_of,
    fill,
    open_descriptors,
    shards,
)

_NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@as_root
def test_full_disk_is_no_space_and_leaves_nothing(small_disk: Path) -> None:
    """ENOSPC is its own refusal, removes what it wrote, and the brick still reads, opens and removes."""
    brick = create_brick(small_disk / "brick", VOLUME, BRICK)
    image = shards(length=4 * 400_000)[INDEX]
    brick.write_shard(SegmentId(0), INDEX, image)
    brick.write_shard(SegmentId(1), INDEX, image)
    with pytest.raises(NoSpace, match=rf"brick {brick.path}: cannot write shard .*No space left"):
        fill(brick, image)
    assert len(list(brick.list_shards())) < 6
    sizes = {file_of(brick, segment, index).stat().st_size for segment, index in brick.list_shards()}
    assert sizes == {sum(map(len, image))}
    (small_disk / "filler").write_bytes(bytes(brick.space().free))
    assert brick.space().free == 0
    again = open_brick(brick.path, VOLUME, BRICK)
    again.remove_shard(SegmentId(0), INDEX)
    assert again.space().free > 0


def test_failed_write_leaves_nothing(brick: BrickDirectory) -> None:
    """Any other failure in the middle of a write is a BrickFault, and removes the file."""
    before = open_descriptors()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(BrickFault, match=os.strerror(errno.EFBIG)):
            brick.write_shard(SEGMENT, INDEX, shards()[INDEX])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(brick.list_shards()) == []
    assert open_descriptors() == before


@as_root
def test_read_only_brick_is_a_fault(small_disk: Path) -> None:
    """A brick that cannot be written is found at opening, not at the first write."""
    create_brick(small_disk / "brick", VOLUME, BRICK)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(BrickFault, match=r"cannot write to it: Read-only file system; .*remount it writable"):
        open_brick(small_disk / "brick", VOLUME, BRICK)


def test_brick_of_another_user_is_a_fault() -> None:
    """A folder that the daemon's user may not write is found at opening. As root the test is another user for it."""
    with tempfile.TemporaryDirectory() as folder, _ordinary_user(Path(folder)):
        create_brick(Path(folder) / "brick", VOLUME, BRICK)
        (Path(folder) / "brick").chmod(0o500)
        with pytest.raises(BrickFault, match="cannot write to it: Permission denied"):
            open_brick(Path(folder) / "brick", VOLUME, BRICK)


@contextmanager
def _ordinary_user(folder: Path) -> Iterator[None]:
    """Root may write everywhere."""
    if os.geteuid():
        yield
        return
    os.chown(folder, _NOBODY, _NOBODY)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_writes_are_synced_file_before_name(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durable when it returns: the file's data first, then the folder's names, before anything is reported."""
    synced: list[str] = []

    def record(name: str, fd: int) -> None:
        synced.append(f"{name} {os.readlink(f'/proc/self/fd/{fd}')}")

    monkeypatch.setattr(os, "fdatasync", lambda fd: record("fdatasync", fd))
    monkeypatch.setattr(os, "fsync", lambda fd: record("fsync", fd))
    brick.write_shard(SEGMENT, INDEX, shards()[INDEX])
    path = file_of(brick)
    assert synced == [f"fdatasync {path}", f"fsync {path.parent}"]


def test_short_writes_are_continued(brick: BrickDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the kernel cuts short, in the middle of any part, goes on where it stopped."""
    whole = os.pwritev

    def short(fd: int, buffers: list[memoryview], offset: int) -> int:
        joined = b"".join(buffers)
        return whole(fd, [joined[: min(len(joined), 4099)]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    image = shards()[INDEX]
    brick.write_shard(SEGMENT, INDEX, image)
    assert file_of(brick).read_bytes() == b"".join(image)


def test_shard_of_an_empty_segment(brick: BrickDirectory) -> None:
    """A body of no bytes is a shard too."""
    page = encode_shard_header(
        ShardHeader(VOLUME, SEGMENT, INDEX, Protection(4, 2), 0, bytes(32), block_checksums(b""))
    )
    brick.write_shard(SEGMENT, INDEX, (page, b""))
    assert brick.read(SEGMENT, INDEX, 0, 0, wait=True) == b""
    brick.verify_shard(SEGMENT, INDEX)
