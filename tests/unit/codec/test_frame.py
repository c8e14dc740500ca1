"""Frames: any cut of a stream gives the same frames; what is not ours, or too large, ends it; memory is bounded."""

import struct
import tracemalloc

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.codec.frame import HEADER_BYTES, Frame, FrameReader, encode_header
from dwd.model.errors import BadRequest
from dwd.model.limits import FRAME_BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX

BUFFER = 64 * 1024
# Around the border between what is taken out of the buffer and what gets one of its own
SIZES = st.one_of(st.integers(0, 200), st.integers(BUFFER - 60, BUFFER + 60), st.sampled_from([3 * BUFFER]))


def feed(reader: FrameReader, stream: bytes, cuts: list[int]) -> list[Frame]:
    """Give a stream in pieces, as recv_into does: never more than there is room for."""
    frames: list[Frame] = []
    at = turn = 0
    while at < len(stream):
        space = reader.space()
        assert len(space) > 0
        count = min(len(space), len(stream) - at, cuts[turn % len(cuts)])
        space[:count] = stream[at : at + count]
        frames += reader.received(count)
        at += count
        turn += 1
    return frames


def encoded(correlation: int, body: bytes, payload: bytes) -> bytes:
    """A whole frame."""
    return encode_header(correlation, len(body), len(payload)) + body + payload


def header(magic: bytes = b"dwf1", body: int = 0, payload: int = 0, correlation: int = 0) -> bytes:
    """A header made by hand."""
    fields = struct.pack("<4sIIQ", magic, body, payload, correlation)
    return fields + struct.pack("<I", xxhash.xxh3_64_intdigest(fields) & 0xFFFFFFFF)


@settings(max_examples=120)
@given(
    st.lists(st.tuples(st.integers(0, (1 << 64) - 1), SIZES, SIZES), min_size=1, max_size=5),
    st.lists(st.one_of(st.integers(1, 100), st.integers(1, 2 * BUFFER)), min_size=1, max_size=20),
    st.sampled_from([0, 100]),
)
def test_any_cut_gives_the_same_frames(sent: list[tuple[int, int, int]], cuts: list[int], slack: int) -> None:
    """However the bytes arrive, every frame comes out whole, in order, with zeros in its slack."""
    sent = [(number, *sizes) for number, *sizes in sent]  # type: ignore[misc]
    parts = [(n, bytes([i + 1]) * body, bytes([i + 101]) * payload) for i, (n, body, payload) in enumerate(sent)]
    smallest = sum(len(b) + len(p) for _, b, p in parts) // 400 + 1
    frames = feed(FrameReader(slack=slack), b"".join(encoded(*p) for p in parts), [max(c, smallest) for c in cuts])
    assert [(f.correlation, f.body, bytes(f.payload[: f.payload_length])) for f in frames] == parts
    for frame in frames:
        room = slack if frame.payload_length or len(frame.payload) else 0
        assert frame.payload[frame.payload_length :] == bytes(room)


def test_byte_by_byte() -> None:
    """The smallest pieces give the same."""
    stream = encoded(1, b"body", b"payload") + encoded(2, b"", b"") + encoded(3, b"x", b"")
    frames = feed(FrameReader(), stream, [1])
    assert [(f.correlation, f.body, bytes(f.payload)) for f in frames] == [
        (1, b"body", b"payload"),
        (2, b"", b""),
        (3, b"x", b""),
    ]


def test_header_is_pinned() -> None:
    """The header's bytes never change: docs/FORMATS.md has them."""
    assert encode_header(0x0102030405060708, 0x11, 0x22) == header(
        body=0x11, payload=0x22, correlation=0x0102030405060708
    )
    assert HEADER_BYTES == 24
    assert encode_header(1, 2, 3).hex() == "6477663102000000030000000100000000000000b92e029e"


@pytest.mark.parametrize(
    "bad",
    [
        header(magic=b"dwf2"),
        header()[:-1] + b"\0",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes(24),
        b"\xff" * 24,
        header(body=FRAME_BODY_BYTES_MAX + 1),
        header(payload=FRAME_PAYLOAD_BYTES_MAX + 1),
        header(body=0xFFFFFFFF, payload=0xFFFFFFFF),
    ],
)
def test_what_is_no_frame(bad: bytes) -> None:
    """Wrong magic, a wrong checksum and a length over its bound are BadRequest, wherever in the stream they stand."""
    for before in (b"", encoded(1, b"body", b"")):
        with pytest.raises(BadRequest):
            feed(FrameReader(), before + bad, [7])


@given(st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_any_damaged_header_is_found(at: int, change: int) -> None:
    """Any byte of a header changed is found by its checksum."""
    damaged = bytearray(header(body=5, payload=6, correlation=7))
    damaged[at] ^= change
    with pytest.raises(BadRequest):
        feed(FrameReader(), bytes(damaged), [24])


def test_limits_are_the_readers() -> None:
    """A reader with smaller bounds keeps to them; what is just within is taken."""
    reader = FrameReader(body_max=10, payload_max=0)
    assert len(feed(reader, encoded(1, b"x" * 10, b""), [100])) == 1
    with pytest.raises(BadRequest, match="11 of 10"):
        feed(reader, encoded(1, b"x" * 11, b""), [100])
    with pytest.raises(BadRequest, match="payload 1 of 0"):
        feed(FrameReader(payload_max=0), encoded(1, b"", b"x"), [100])


def test_memory_is_bounded() -> None:
    """A reader holds its buffer and one frame in the making, however much went through it."""
    frame = encoded(1, b"b" * 1000, b"p" * (1 << 20))
    reader = FrameReader(slack=64)
    tracemalloc.start()
    for _ in range(8):
        feed(reader, frame, [1 << 16])
    feed(reader, frame[:5000], [1 << 16])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.2 * (1 << 20)
    assert peak < 2.4 * (1 << 20)


def test_large_payload_is_received_in_place() -> None:
    """The rest of a large payload goes straight into its own buffer."""
    reader = FrameReader(slack=8)
    stream = encoded(1, b"body", b"p" * 200_000)
    feed(reader, stream[:1000], [1000])
    assert len(reader.space()) == len(stream) - 1000
    (frame,) = feed(reader, stream[1000:], [1 << 20])
    assert len(frame.payload) == 200_008


def test_buffer_is_full_but_for_a_small_frame() -> None:
    """A frame that begins in the first half of the buffer and does not end in it moves to its front: room is left."""
    stream = encoded(1, b"a" * 30_000, b"") + encoded(2, b"b" * (BUFFER - 30), b"")
    assert [frame.correlation for frame in feed(FrameReader(), stream, [BUFFER])] == [1, 2]
