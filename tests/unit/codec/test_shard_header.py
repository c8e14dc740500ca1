import struct
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.codec.shard_header import HEADER_BYTES, ShardHeader, decode_shard_header, encode_shard_header
from dwd.model.checks import InvariantViolated
from dwd.model.errors import CorruptShard, FormatTooNew
from dwd.model.ids import SegmentId, ShardIndex, VolumeId
from dwd.model.limits import BLOCK_BYTES, SEGMENT_BYTES_MAX
from dwd.model.protection import Protection
from dwd.model.units import div_ceil

GOLDEN = Path(__file__).parents[2] / "golden" / "shard_header_v1.bin"
# Offsets in the page, as docs/FORMATS.md has them
INDEX, K, M, LENGTH, SHARD_LENGTH, BLOCK, TRANSFORM, TABLE = 40, 41, 42, 44, 52, 56, 92, 2040
FOUR_TWO = Protection(4, 2)


def header(length: int = 100_000, index: int = 3, protection: Protection = FOUR_TWO) -> ShardHeader:
    """A header with something in every field."""
    blocks = div_ceil(protection.shard_length(length), BLOCK_BYTES)
    return ShardHeader(
        volume=VolumeId(bytes(range(16))),
        segment=SegmentId(0x0102030405060708),
        index=ShardIndex(index),
        protection=protection,
        segment_length=length,
        digest=bytes(range(100, 132)),
        checksums=tuple(0x1111111111111111 * (i % 15) for i in range(blocks)),
    )


def changed(page: bytes, at: int, value: bytes) -> bytes:
    """The page with other bytes and a checksum that fits them."""
    page = page[:at] + value + page[at + len(value) : -8]
    return page + struct.pack("<Q", xxhash.xxh3_64_intdigest(page))


def test_page_has_not_changed() -> None:
    """Version 1 is frozen: what is on disks must be read for ever, and by whoever reads docs/FORMATS.md."""
    golden = GOLDEN.read_bytes()
    assert encode_shard_header(header()) == golden
    assert decode_shard_header(golden) == header()


def test_fields_lie_where_the_format_says() -> None:
    """The golden page read field by field, without the decoder."""
    golden = GOLDEN.read_bytes()
    assert len(golden) == HEADER_BYTES == 4096
    assert golden[:16] == b"DWSHARD\0" + struct.pack("<II", 1, 0)
    assert golden[16:32] == bytes(range(16))
    assert struct.unpack_from("<Q", golden, 32) == (0x0102030405060708,)
    assert tuple(golden[INDEX : M + 2]) == (3, 4, 2, 0)
    assert struct.unpack_from("<IIII", golden, LENGTH) == (100_000, 100_000, 25_024, 16_384)
    assert golden[60:92] == bytes(range(100, 132))
    assert not any(golden[TRANSFORM:TABLE])
    assert struct.unpack_from("<256Q", golden, TABLE) == (0, 0x1111111111111111) + (0,) * 254
    assert golden[-8:] == struct.pack("<Q", xxhash.xxh3_64_intdigest(golden[:-8]))


@settings(derandomize=True, deadline=None)
@given(
    profile=st.sampled_from([(1, 0), (1, 2), (4, 2), (16, 4), (31, 1)]),
    length=st.one_of(st.integers(0, 200), st.integers(0, SEGMENT_BYTES_MAX), st.just(SEGMENT_BYTES_MAX)),
    data=st.data(),
)
def test_decode_is_the_inverse_of_encode(profile: tuple[int, int], length: int, data: st.DataObject) -> None:
    """Every header comes back as it was."""
    protection = Protection(*profile)
    original = header(length, data.draw(st.integers(0, protection.width - 1)), protection)
    assert decode_shard_header(encode_shard_header(original)) == original


@pytest.mark.parametrize("at", [*range(140), *range(140, HEADER_BYTES, 41), *range(HEADER_BYTES - 8, HEADER_BYTES)])
def test_flipped_byte_is_found(at: int) -> None:
    """A flipped byte anywhere makes the shard corrupt, the version's and the padding's too."""
    page = bytearray(encode_shard_header(header()))
    page[at] ^= 0x10
    with pytest.raises(CorruptShard):
        decode_shard_header(bytes(page))


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=5000))
def test_rubbish_is_corrupt(raw: bytes) -> None:
    """Any bytes that are no header raise CorruptShard, and nothing else."""
    with pytest.raises(CorruptShard):
        decode_shard_header(raw)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (INDEX, b"\6"),
        (K, b"\0"),
        (M, b"\x1d"),
        (LENGTH, struct.pack("<I", 99_000)),
        (LENGTH, struct.pack("<I", SEGMENT_BYTES_MAX + 1)),
        (SHARD_LENGTH, struct.pack("<I", 25_025)),
    ],
)
def test_contradiction_is_corrupt(at: int, value: bytes) -> None:
    """Fields that cannot all be true are corrupt, though the page's checksum fits."""
    with pytest.raises(CorruptShard, match="the header says"):
        decode_shard_header(changed(encode_shard_header(header()), at, value))


@pytest.mark.parametrize("at", [TRANSFORM, TRANSFORM + 1, TRANSFORM + 4, TRANSFORM + 20, 160, 48, 43, TABLE + 16])
def test_what_version_1_leaves_empty_is_refused(at: int) -> None:
    """Compression, encryption, a key, a nonce, another plain length, padding in use: a refusal, never a guess."""
    with pytest.raises(FormatTooNew, match="compressed, encrypted"):
        decode_shard_header(changed(encode_shard_header(header()), at, b"\1"))


def test_other_block_size_is_refused() -> None:
    """Blocks of a size that this program does not read are a refusal that names both."""
    with pytest.raises(FormatTooNew, match="65536 bytes; this program reads 16384"):
        decode_shard_header(changed(encode_shard_header(header()), BLOCK, struct.pack("<I", 65536)))


def test_wrong_number_of_checksums_stops() -> None:
    """A header without one checksum for each block is a bug (F4)."""
    with pytest.raises(InvariantViolated, match="F4"):
        encode_shard_header(
            ShardHeader(VolumeId(bytes(16)), SegmentId(1), ShardIndex(0), Protection(1, 0), 1, bytes(32), (1, 2))
        )
