import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyeclib.ec_iface import ECDriver

from dwd.ec.reed_solomon import Codec
from dwd.model.checks import InvariantViolated
from dwd.model.errors import SegmentLost
from dwd.model.ids import ShardIndex
from dwd.model.limits import BLOCK_BYTES, SEGMENT_BYTES_MAX
from dwd.model.protection import PROFILES, Protection, parse_protection

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = [profile.name for profile in PROFILES]
ORACLE_PROFILES = ["4+2", "6+3", "8+4", "10+2", "RAIDZ3", "RAID6(6+2)", "16+4", "2+1", "28+4"]


def pattern(length: int, seed: int = 1) -> bytearray:
    """Bytes that are the same in every run."""
    return bytearray(random.Random(seed).randbytes(length))


def shards_of(protection: Protection, data: bytearray, length: int) -> dict[ShardIndex, bytes]:
    """All shards, data and parity."""
    bodies = [bytes(data[i * length : (i + 1) * length]) for i in range(protection.k)]
    bodies += [bytes(parity) for parity in Codec(protection).encode(data, length)]
    return {ShardIndex(i): body for i, body in enumerate(bodies)}


def multiply(a: int, b: int) -> int:
    """GF(256) with the polynomial 0x11d, bit by bit."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


def invert(a: int) -> int:
    """The inverse, by trying."""
    return next(b for b in range(1, 256) if multiply(a, b) == 1)


@pytest.mark.parametrize("name", ORACLE_PROFILES)
def test_parity_is_what_the_definition_says(name: str) -> None:
    """Parity row i has the coefficients 1/(i xor j): checked against arithmetic that shares nothing with ISA-L."""
    protection = parse_protection(name)
    data = pattern(protection.k * 4)
    shards = shards_of(protection, data, 4)
    for row in range(protection.k, protection.width):
        for at in range(4):
            expected = 0
            for column in range(protection.k):
                expected ^= multiply(invert(row ^ column), shards[ShardIndex(column)][at])
            assert shards[ShardIndex(row)][at] == expected


@pytest.mark.parametrize("name", ORACLE_PROFILES)
def test_parity_is_what_pyeclib_makes(name: str) -> None:
    """Pyeclib's isa_l_rs_cauchy is the oracle: the same parity, byte for byte."""
    protection = parse_protection(name)
    length = 1024
    data = pattern(protection.k * length)
    fragments = ECDriver(k=protection.k, m=protection.m, ec_type="isa_l_rs_cauchy").encode(bytes(data))
    expected = {ShardIndex(i): fragment[-length:] for i, fragment in enumerate(fragments)}
    assert shards_of(protection, data, length) == expected


@pytest.mark.parametrize("name", [profile.name for profile in PROFILES if profile.m])
def test_parity_has_not_changed(name: str) -> None:
    """Shards on disk depend on the matrix: the parity of version 1 is frozen."""
    protection = parse_protection(name)
    parity = b"".join(Codec(protection).encode(pattern(protection.k * 192, seed=7), 192))
    assert parity == (GOLDEN / f"parity_{name}_v1.bin").read_bytes()


def recover_every_loss(protection: Protection, length: int) -> None:
    """All C(n, 1..m) losses, the parity included."""
    codec, shards = Codec(protection), shards_of(protection, pattern(protection.k * length), length)
    for count in range(1, protection.m + 1):
        for lost in itertools.combinations(shards, count):
            left = {index: body for index, body in shards.items() if index not in lost}
            assert codec.reconstruct(left, lost, length) == {index: shards[index] for index in lost}


@pytest.mark.parametrize("protection", PROFILES, ids=NAMES)
def test_every_loss_of_up_to_m_shards_is_recovered(protection: Protection) -> None:
    """Any m shards may be lost, of every profile: each one of the losses, 6,195 of them for 16+4."""
    recover_every_loss(protection, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RAID6(14+2)", "RAIDZ3(13+3)", "29+3"])
def test_every_loss_of_wide_modes_is_recovered(name: str) -> None:
    """The same beyond the profiles, up to 32 shards."""
    recover_every_loss(parse_protection(name), 8)


@settings(max_examples=60)
@given(protection=st.sampled_from(PROFILES), data=st.data())
def test_segments_of_every_size_survive_the_loss_of_any_m(protection: Protection, data: st.DataObject) -> None:
    """Empty, of one byte, shorter than its shards, at the edges of blocks, and full: the bytes come back."""
    k, edge = protection.k, protection.k * BLOCK_BYTES
    sizes = [0, 1, max(0, k - 1), k, edge - 1, edge, edge + 1, SEGMENT_BYTES_MAX - 1, SEGMENT_BYTES_MAX]
    size = data.draw(st.sampled_from([size for size in sizes if size <= SEGMENT_BYTES_MAX]) | st.integers(0, 1 << 18))
    length = protection.shard_length(size)
    original = bytes(pattern(size, seed=size))
    shards = shards_of(protection, bytearray(original.ljust(k * length, b"\0")), length)
    lost = data.draw(st.lists(st.sampled_from(sorted(shards)), max_size=protection.m, unique=True))
    left = {index: body for index, body in shards.items() if index not in lost}
    found = Codec(protection).reconstruct(left, [ShardIndex(i) for i in range(k)], length)
    assert b"".join(found[ShardIndex(i)] for i in range(k))[:size] == original


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    profile=st.sampled_from([(1, 0), (1, 1), (1, 2), (2, 1), (3, 0), (4, 2), (5, 3), (16, 4)]),
    length=st.one_of(st.integers(0, 300), st.sampled_from([511, 512, 513, 16383, 16384, 16385])),
    seed=st.integers(0, 1 << 16),
    data=st.data(),
)
def test_any_range_of_any_k_shards_gives_that_range_of_the_others(
    profile: tuple[int, int], length: int, seed: int, data: st.DataObject
) -> None:
    """The code is bytewise: every length works, with no alignment, and so does every equal range of the shards."""
    protection = Protection(*profile)
    shards = shards_of(protection, pattern(protection.k * length, seed), length)
    start = data.draw(st.integers(0, length))
    end = data.draw(st.integers(start, length))
    keep = data.draw(st.permutations(sorted(shards)))[: protection.k]
    ranges = {index: memoryview(shards[index])[start:end] for index in keep}
    assert Codec(protection).reconstruct(ranges, sorted(shards), end - start) == {
        index: body[start:end] for index, body in shards.items()
    }


def test_encoding_leaves_the_data_and_its_surroundings_alone() -> None:
    """The library writes only into the parity: data, and what lies behind it in the buffer, stay."""
    data = pattern(4 * 100 + 37)
    before = bytes(data)
    Codec(Protection(4, 2)).encode(memoryview(data), 100)
    assert bytes(data) == before


def test_copies_share_the_buffer() -> None:
    """With k = 1 parity is the data itself: no byte is copied."""
    data = pattern(64)
    first, second = Codec(Protection(1, 2)).encode(data, 64)
    data[5] ^= 0xFF
    assert bytes(first) == bytes(second) == bytes(data)


def test_too_few_shards_is_a_lost_segment() -> None:
    """k-1 shards give an error that counts them, not a guess."""
    with pytest.raises(SegmentLost, match="4 shards are needed and 3 are available"):
        Codec(Protection(4, 2)).reconstruct({ShardIndex(i): b"x" for i in range(3)}, [ShardIndex(5)], 1)


@pytest.mark.parametrize("index", [-1, 6])
def test_index_out_of_range_stops(index: int) -> None:
    """A shard that the protection does not have is a bug (E2)."""
    with pytest.raises(InvariantViolated, match="E2"):
        Codec(Protection(4, 2)).reconstruct({}, [ShardIndex(index)], 1)


def test_unequal_ranges_stop() -> None:
    """Ranges of different lengths are a bug (E3)."""
    with pytest.raises(InvariantViolated, match="E3"):
        Codec(Protection(1, 1)).reconstruct({ShardIndex(0): b"xy"}, [ShardIndex(1)], 1)


def test_short_buffer_stops() -> None:
    """A buffer without room for k shards is a bug (E1)."""
    with pytest.raises(InvariantViolated, match="E1"):
        Codec(Protection(4, 2)).encode(bytearray(255), 64)
