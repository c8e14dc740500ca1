import struct
from pathlib import Path

import pytest
import xxhash

from dwd.codec.superblock import Superblock, decode_superblock, encode_superblock
from dwd.model.errors import BrickFault, FormatTooNew
from dwd.model.ids import BrickId, VolumeId

GOLDEN = Path(__file__).parents[2] / "golden" / "superblock_v1.bin"
SUPERBLOCK = Superblock(
    volume=VolumeId(bytes(range(16))),
    brick=BrickId(3),
    uuid=bytes(range(200, 216)),
    created_ns=1_700_000_000_123_456_789,
)


def test_page_has_not_changed() -> None:
    """Version 1 is frozen: every brick ever made must open for ever."""
    golden = GOLDEN.read_bytes()
    assert encode_superblock(SUPERBLOCK) == golden
    assert decode_superblock(golden) == SUPERBLOCK


def test_fields_lie_where_the_format_says() -> None:
    """The golden page read field by field, without the decoder."""
    golden = GOLDEN.read_bytes()
    assert golden[:16] == b"DWBRICK\0" + struct.pack("<II", 1, 0)
    expected = (bytes(range(16)), 3, bytes(range(200, 216)), 1_700_000_000_123_456_789)
    assert struct.unpack_from("<16sQ16sQ", golden, 16) == expected
    assert not any(golden[64:4088])
    assert golden[4088:] == struct.pack("<Q", xxhash.xxh3_64_intdigest(golden[:4088]))


@pytest.mark.parametrize("at", [*range(70), *range(70, 4088, 97), *range(4088, 4096)])
def test_flipped_byte_is_found(at: int) -> None:
    """No byte of a superblock can change unseen."""
    page = bytearray(GOLDEN.read_bytes())
    page[at] ^= 0x80
    with pytest.raises(BrickFault):
        decode_superblock(bytes(page))


def test_unknown_field_is_refused() -> None:
    """Bytes that version 1 leaves empty are another program's: refused, not passed over."""
    page = GOLDEN.read_bytes()[:-8]
    page = page[:100] + b"\1" + page[101:]
    with pytest.raises(FormatTooNew, match="fields that this program does not know"):
        decode_superblock(page + struct.pack("<Q", xxhash.xxh3_64_intdigest(page)))
