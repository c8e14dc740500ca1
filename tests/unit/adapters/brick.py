"""A brick for tests: its identity, shards to put on it, and ways to harm it."""

import ctypes
import mmap
import os
import random
import time
from pathlib import Path

from dwd.adapters.brick_directory import BrickDirectory
from dwd.ec.segment_image import build_shards
from dwd.model.ids import BrickId, SegmentId, ShardIndex, VolumeId
from dwd.model.limits import BLOCK_BYTES
from dwd.model.protection import Protection

VOLUME = VolumeId(b"v" * 16)
OTHER = VolumeId(b"w" * 16)
BRICK = BrickId(3)
SEGMENT = SegmentId(0x01_0000000123)
INDEX = ShardIndex(2)
LENGTH = 4 * (3 * BLOCK_BYTES + 640)  # shards of three blocks and a short one


def shards(segment: SegmentId = SEGMENT, length: int = LENGTH, volume: VolumeId = VOLUME) -> list[tuple[bytes, bytes]]:
    """Header page and body of each shard of a segment with contents of its own."""
    buffer = bytearray(random.Random(segment).randbytes(length + 4096))
    return [
        (page, bytes(body)) for page, body in build_shards(volume, segment, Protection(4, 2), buffer, length).shards
    ]


def file_of(brick: BrickDirectory, segment: SegmentId = SEGMENT, index: ShardIndex = INDEX) -> Path:
    """Where a shard lies."""
    return brick.path / "shards" / f"{segment % 256:02x}" / f"{segment:016x}.{index}"


def flip(path: Path, at: int) -> None:
    """Change a byte behind the brick's back."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x20]))


def fill(brick: BrickDirectory, image: tuple[bytes, bytes]) -> None:
    """Write the same shard under other names, more often than a small disk can take."""
    for number in range(2, 20):
        brick.write_shard(SegmentId(number), INDEX, image)


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def uncache(path: Path) -> None:
    """Make the kernel forget a file's pages; a page that it is busy with stays, so it is asked until none is left."""
    path.read_bytes()
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(200):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if not cached_pages(path):
                return
            time.sleep(0.01)
        raise AssertionError(f"the kernel keeps pages of {path}")
    finally:
        os.close(fd)


def cached_pages(path: Path) -> int:
    """How many are in memory; asking by reading would bring them there."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        with mmap.mmap(file.fileno(), length, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
            view = (ctypes.c_char * length).from_buffer(mapped)
            pages = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
            status = ctypes.CDLL(None).mincore(ctypes.byref(view), ctypes.c_size_t(length), pages)
            del view
    assert status == 0
    return sum(page & 1 for page in pages)
