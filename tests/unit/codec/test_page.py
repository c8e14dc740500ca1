import random
import struct

import pytest
import xxhash

from dwd.codec.page import BODY_BYTES, PAGE_BYTES, seal, unseal
from dwd.model.checks import InvariantViolated
from dwd.model.errors import BrickFault, CorruptShard, FormatTooNew

MAGIC = b"DWTEST\0\0"


def resealed(page: bytes) -> bytes:
    """The page with a checksum that fits what it says: no damage, but another writer."""
    return page[:-8] + struct.pack("<Q", xxhash.xxh3_64_intdigest(page[:-8]))


def test_body_comes_back_padded() -> None:
    """A sealed page is 4096 bytes, and gives its body back, padded with zeros."""
    page = seal(MAGIC, 1, b"body")
    assert len(page) == PAGE_BYTES
    assert unseal(page, MAGIC, 1, CorruptShard) == b"body".ljust(BODY_BYTES, b"\0")


def test_body_too_big_stops() -> None:
    """A body that does not fit is a bug (F1), never cut."""
    with pytest.raises(InvariantViolated, match="F1"):
        seal(MAGIC, 1, bytes(BODY_BYTES + 1))


def test_every_flipped_byte_is_found() -> None:
    """No byte of a page can change unseen, and a flipped version is damage, not a newer format."""
    page = seal(MAGIC, 1, random.Random(1).randbytes(BODY_BYTES))
    for at in range(PAGE_BYTES):
        damaged = bytearray(page)
        damaged[at] ^= 1 + at % 255
        with pytest.raises(CorruptShard):
            unseal(bytes(damaged), MAGIC, 1, CorruptShard)


@pytest.mark.parametrize("size", [0, 1, PAGE_BYTES - 1, PAGE_BYTES + 1])
def test_page_of_another_size_is_damaged(size: int) -> None:
    """A cut or overlong page is damaged, in the words of the caller's own Fault."""
    with pytest.raises(BrickFault, match=f"{size} bytes"):
        unseal(seal(MAGIC, 1, b"").ljust(size, b"\0")[:size], MAGIC, 1, BrickFault)


def test_another_magic_is_damaged() -> None:
    """A page of another kind is not taken for ours."""
    with pytest.raises(CorruptShard, match="begins with"):
        unseal(seal(b"DWOTHER\0", 1, b""), MAGIC, 1, CorruptShard)


@pytest.mark.parametrize(("version", "flags"), [(2, 0), (1, 1), (0xFFFFFFFF, 0)])
def test_newer_page_is_refused(version: int, flags: int) -> None:
    """A whole page of a newer version, or with flags, is a refusal that names both."""
    page = resealed(MAGIC + struct.pack("<II", version, flags) + seal(MAGIC, 1, b"")[16:])
    with pytest.raises(FormatTooNew, match=f"version {version}"):
        unseal(page, MAGIC, 1, CorruptShard)


def test_version_zero_is_damaged() -> None:
    """Version 0 was never written."""
    with pytest.raises(CorruptShard, match="never existed"):
        unseal(seal(MAGIC, 0, b""), MAGIC, 1, CorruptShard)
