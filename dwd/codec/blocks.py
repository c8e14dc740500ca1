"""Checksums of a shard's blocks: the unit in which a body is read and verified."""

from collections.abc import Sequence

import xxhash

from dwd.model.errors import CorruptShard
from dwd.model.limits import BLOCK_BYTES
from dwd.model.units import round_up


def block_checksums(body: bytes | memoryview) -> tuple[int, ...]:
    """One xxh3_64 a block; the last block may be short."""
    view = memoryview(body)
    return tuple(
        xxhash.xxh3_64_intdigest(view[start : start + BLOCK_BYTES]) for start in range(0, len(view), BLOCK_BYTES)
    )


def covering_blocks(offset: int, length: int, body_length: int) -> tuple[int, int]:
    """Start and end, in bytes, of the whole blocks that hold [offset, offset+length) of a body."""
    start = offset - offset % BLOCK_BYTES
    return start, min(round_up(offset + length, BLOCK_BYTES), body_length)


def verify_blocks(checksums: Sequence[int], start: int, data: bytes | memoryview) -> None:
    """Check whole blocks that begin at byte `start` of the body.

    Raises:
        CorruptShard: naming the first block that is damaged.
    """
    first = start // BLOCK_BYTES
    for number, checksum in enumerate(block_checksums(data), first):
        if checksum != checksums[number]:
            raise CorruptShard(f"block {number} of the body does not match its checksum")
