import random

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.codec.blocks import verify_blocks
from dwd.codec.shard_header import decode_shard_header
from dwd.ec.layout import shard_ranges
from dwd.ec.reed_solomon import Codec
from dwd.ec.segment_image import build_shards
from dwd.model.checks import InvariantViolated
from dwd.model.ids import SegmentId, ShardIndex, VolumeId
from dwd.model.limits import BLOCK_BYTES, SEGMENT_BYTES_MAX
from dwd.model.protection import Protection

VOLUME = VolumeId(b"v" * 16)
SEGMENT = SegmentId(0x123)


def dirty_buffer(protection: Protection, length: int, seed: int = 1) -> bytearray:
    """Room for k shards and a little more, with rubbish behind the segment."""
    return bytearray(random.Random(seed).randbytes(protection.k * protection.shard_length(length) + 5))


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    profile=st.sampled_from([(1, 0), (1, 2), (2, 1), (4, 2), (5, 3), (16, 4)]),
    length=st.one_of(
        st.integers(0, 20),
        st.sampled_from([63, 64, 65, 4 * BLOCK_BYTES - 1, 4 * BLOCK_BYTES, 4 * BLOCK_BYTES + 1, 5 * 64 * 3]),
    ),
)
def test_shards_hold_the_segment_and_say_so(profile: tuple[int, int], length: int) -> None:
    """Headers decode, bodies match their checksums, data shards joined are the segment, parity is the codec's."""
    protection = Protection(*profile)
    buffer = dirty_buffer(protection, length)
    expected = bytes(buffer[:length])
    image = build_shards(VOLUME, SEGMENT, protection, buffer, length)
    assert len(image.shards) == protection.width
    bodies = {}
    for index, (page, body) in enumerate(image.shards):
        header = decode_shard_header(page)
        assert (header.volume, header.segment, header.index) == (VOLUME, SEGMENT, index)
        assert (header.protection, header.segment_length) == (protection, length)
        assert header.digest == image.digest == blake3(expected).digest()
        assert len(body) == header.shard_length
        verify_blocks(header.checksums, 0, body)
        bodies[ShardIndex(index)] = bytes(body)
    pieces = shard_ranges(0, length, protection.shard_length(length))
    assert b"".join(bodies[p.index][p.offset : p.offset + p.length] for p in pieces) == expected
    kept = dict(sorted(bodies.items())[-protection.k :])
    assert Codec(protection).reconstruct(kept, sorted(bodies), protection.shard_length(length)) == bodies


def test_padding_is_zero_and_nothing_behind_it_is_touched() -> None:
    """Rubbish behind the segment becomes zeros up to the last shard's end, and not one byte further."""
    protection = Protection(4, 2)
    buffer = dirty_buffer(protection, 100)
    behind = bytes(buffer[256:])
    image = build_shards(VOLUME, SEGMENT, protection, buffer, 100)
    assert b"".join(body for _, body in image.shards[:4])[100:] == bytes(156)
    assert bytes(buffer[256:]) == behind


def test_data_is_not_copied() -> None:
    """Data bodies are views of the caller's buffer."""
    protection = Protection(4, 2)
    buffer = dirty_buffer(protection, 256)
    _, body = build_shards(VOLUME, SEGMENT, protection, buffer, 256).shards[2]
    buffer[2 * 64] ^= 0xFF
    assert body[0] == buffer[2 * 64]


def test_widest_shard_fits() -> None:
    """One shard of a whole segment (k = 1) fills the header's table exactly."""
    buffer = bytearray(SEGMENT_BYTES_MAX)
    page, _ = build_shards(VOLUME, SEGMENT, Protection(1, 0), buffer, SEGMENT_BYTES_MAX).shards[0]
    assert len(decode_shard_header(page).checksums) == 256


def test_too_long_segment_stops() -> None:
    """More than a segment can hold is a bug (E7)."""
    with pytest.raises(InvariantViolated, match="E7"):
        build_shards(VOLUME, SEGMENT, Protection(1, 0), bytearray(SEGMENT_BYTES_MAX + 64), SEGMENT_BYTES_MAX + 1)


def test_buffer_without_room_for_the_padding_stops() -> None:
    """The padding must fit in the buffer (E1)."""
    with pytest.raises(InvariantViolated, match="E1"):
        build_shards(VOLUME, SEGMENT, Protection(4, 2), bytearray(100), 100)
