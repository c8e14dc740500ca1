"""DATA/identity: pinned bytes, damage found, newer versions refused."""

import struct
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dwd.codec.volume_identity import BrickPlace, VolumeIdentity, decode_identity, encode_identity
from dwd.model.errors import CorruptIdentity, FormatTooNew
from dwd.model.ids import BrickId, NodeId, VolumeId
from dwd.model.protection import Protection

GOLDEN = Path(__file__).parents[2] / "golden" / "identity_v1.bin"
IDENTITY = VolumeIdentity(
    VolumeId(bytes(range(16))),
    NodeId(1),
    1_700_000_000_000_000_000,
    Protection(4, 2),
    (BrickPlace(BrickId(1), "bricks/1"), BrickPlace(BrickId(2), "/mnt/two")),
    made=True,
)
# msgpack by hand: an array of volume, node, created, [k, m], [[id, path], ...], made
BODY = (
    b"\x96\xc4\x10" + bytes(range(16)) + b"\x01\xcf" + (1_700_000_000_000_000_000).to_bytes(8, "big") + b"\x92\x04\x02"
    b"\x92\x92\x01\xa8bricks/1\x92\x02\xa8/mnt/two\xc3"
)


def sealed(body: bytes, version: int = 1, magic: bytes = b"dwfs-vol") -> bytes:
    """A file made by hand."""
    fields = struct.pack("<8sII", magic, version, len(body))
    return fields + struct.pack("<Q", xxhash.xxh3_64_intdigest(fields + body)) + body


def test_file_has_not_changed() -> None:
    """Version 1 is frozen, and is what docs/FORMATS.md says."""
    golden = GOLDEN.read_bytes()
    assert golden == sealed(BODY)
    assert encode_identity(IDENTITY) == golden
    assert decode_identity(golden) == IDENTITY


@given(st.integers(0, len(BODY) + 23), st.integers(1, 255))
def test_any_damage_is_found(at: int, change: int) -> None:
    """No byte can change unseen, and damage never passes for a newer format."""
    damaged = bytearray(GOLDEN.read_bytes())
    damaged[at] ^= change
    with pytest.raises(CorruptIdentity):
        decode_identity(bytes(damaged))


@given(st.integers(0, len(BODY) + 23))
def test_truncated(length: int) -> None:
    """A file that was cut short is damaged."""
    with pytest.raises(CorruptIdentity):
        decode_identity(GOLDEN.read_bytes()[:length])


@pytest.mark.parametrize(
    ("raw", "failure"),
    [
        (sealed(BODY, version=2), FormatTooNew),
        (sealed(BODY, version=0), CorruptIdentity),
        (sealed(BODY, magic=b"dwfs-bad"), CorruptIdentity),
        (sealed(BODY) + b"x", CorruptIdentity),
        (sealed(b"\x91\x01"), CorruptIdentity),
        (sealed(b"\xc1"), CorruptIdentity),
    ],
)
def test_what_is_no_identity(raw: bytes, failure: type[Exception]) -> None:
    """Another version, magic, length or body is told by its own error."""
    with pytest.raises(failure):
        decode_identity(raw)


def test_later_fields_are_passed_over() -> None:
    """A field added at the end does not keep this program from reading the others."""
    assert decode_identity(sealed(b"\x97" + BODY[1:] + b"\x07")) == IDENTITY
