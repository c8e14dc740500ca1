import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.codec.blocks import block_checksums, covering_blocks, verify_blocks
from dwd.model.errors import CorruptShard
from dwd.model.limits import BLOCK_BYTES


def test_one_checksum_a_block() -> None:
    """Each block has its xxh3_64; the last may be short."""
    body = bytes(BLOCK_BYTES) + b"rest"
    assert block_checksums(body) == (xxhash.xxh3_64_intdigest(bytes(BLOCK_BYTES)), xxhash.xxh3_64_intdigest(b"rest"))
    assert block_checksums(b"") == ()


@settings(derandomize=True, deadline=None)
@given(body_length=st.integers(1, 10 * BLOCK_BYTES), data=st.data())
def test_covering_blocks_cover(body_length: int, data: st.DataObject) -> None:
    """The covering blocks are whole, hold the range, stay in the body, and none of them is there for nothing."""
    offset = data.draw(st.integers(0, body_length - 1))
    length = data.draw(st.integers(1, body_length - offset))
    start, end = covering_blocks(offset, length, body_length)
    assert start % BLOCK_BYTES == 0
    assert end % BLOCK_BYTES == 0 or end == body_length
    assert start <= offset < start + BLOCK_BYTES
    assert end - BLOCK_BYTES < offset + length <= end <= body_length


def test_damaged_block_is_named() -> None:
    """Damage is found in the block where it is, also when the blocks begin in the middle of the body."""
    body = bytearray(3 * BLOCK_BYTES)
    checksums = block_checksums(memoryview(body))
    verify_blocks(checksums, BLOCK_BYTES, memoryview(body)[BLOCK_BYTES:])
    body[-1] = 1
    with pytest.raises(CorruptShard, match="block 2 "):
        verify_blocks(checksums, BLOCK_BYTES, memoryview(body)[BLOCK_BYTES:])
