"""WAL files: what is a record, what is a torn tail, what is damage."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.codec.wal_frame import (
    PAGE_BYTES,
    RECORD_HEADER_BYTES,
    FileHeader,
    Tail,
    decode_file_header,
    encode_file_header,
    encode_record,
    framed_length,
    scan,
)
from dwd.model.errors import CorruptWal, FormatTooNew, VolumeMismatch
from dwd.model.ids import VolumeId
from dwd.model.units import round_up

VOLUME = VolumeId(bytes(range(16)))
GOLDEN = Path(__file__).parents[2] / "golden" / "wal_file_v1.bin"
NUMBER = 3
FIRST = 41


def build(groups: list[list[bytes]], slack: int = PAGE_BYTES) -> tuple[bytes, list[tuple[int, int]]]:
    """A file whose groups are each followed by a sync, and where each record lies."""
    data = bytearray(encode_file_header(FileHeader(VOLUME, NUMBER, FIRST)))
    places, sequence, durable = [], FIRST, FIRST - 1
    for group in groups:
        data.extend(bytes(round_up(len(data), PAGE_BYTES) - len(data)))
        for payload in group:
            places.append((len(data), len(data) + framed_length(len(payload))))
            data += encode_record(payload, sequence, durable, NUMBER)
            sequence += 1
        durable = sequence - 1
    return bytes(data) + bytes(slack), places


def payloads(data: bytes) -> list[bytes]:
    """What a scan finds."""
    return [data[offset : offset + length] for offset, length in scan(data, FIRST, NUMBER).spans]


def flipped(data: bytes, at: int) -> bytes:
    """The data with two bits of one byte changed."""
    return data[:at] + bytes([data[at] ^ 0x81]) + data[at + 1 :]


@given(st.lists(st.lists(st.binary(max_size=700), min_size=1, max_size=4), max_size=5))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_round_trip(groups: list[list[bytes]]) -> None:
    """Every payload comes back, in order, with padding after each sync, and the end is clean."""
    data, places = build(groups)
    found = scan(data, FIRST, NUMBER)
    assert payloads(data) == [payload for group in groups for payload in group]
    assert found.tail is Tail.CLEAN
    assert found.next_sequence == FIRST + len(places)
    assert found.end == (places[-1][1] if places else PAGE_BYTES)


def test_golden_file() -> None:
    """The format on disk is what version 1 wrote, byte for byte."""
    data, _ = build([[b"alpha", b""], [bytes(range(256))]], slack=0)
    assert data == GOLDEN.read_bytes()


@pytest.mark.parametrize("last", [b"tail record", b"x" * 700, bytes(600)])
def test_cut_at_every_byte_of_the_last_two_records_is_torn(last: bytes) -> None:
    """A file that ends anywhere within its last records gives all whole records and a tail that may be cut."""
    for groups in ([[b"first"], [b"second", last]], [[b"first"], [b"second"], [last]], [[b"first", b"second", last]]):
        data, places = build(groups, slack=0)
        flat = [payload for group in groups for payload in group]
        for cut in range(places[-2][0], len(data)):
            for remains in (data[:cut], data[:cut] + bytes(2 * PAGE_BYTES)):
                found = scan(remains, FIRST, NUMBER)
                # The padding that ends a record may be cut: nothing of the record is missing.
                spans = [(start + RECORD_HEADER_BYTES, len(p)) for (start, _), p in zip(places, flat, strict=True)]
                whole = [
                    remains[at - RECORD_HEADER_BYTES : at + n] == data[at - RECORD_HEADER_BYTES : at + n]
                    for at, n in spans
                ]
                assert len(found.spans) == [*whole, False].index(False), cut
                assert payloads(remains) == flat[: len(found.spans)]
                assert found.tail is not Tail.DAMAGED, (cut, len(remains))


@pytest.mark.parametrize("synced", [True, False])
def test_flip_of_any_byte_in_a_middle_record_is_damage(synced: bool) -> None:
    """A changed byte in a record that others follow is never skipped or cut, whether or not a sync followed it."""
    middle = bytes(range(1, 200))
    groups = [[b"before"], [middle], [b"after"]] if synced else [[b"before", middle, b"after"]]
    data, places = build(groups)
    start, end = places[1]
    for at in range(start, end):
        found = scan(flipped(data, at), FIRST, NUMBER)
        if found.tail is Tail.CLEAN:
            assert at >= start + RECORD_HEADER_BYTES + len(middle)  # in the padding: harmless
            assert len(found.spans) == 3
        else:
            assert (found.tail, found.bad_offset) == (Tail.DAMAGED, start)


def test_flip_in_the_last_record_is_damage() -> None:
    """A record that was written whole and changed later is not mistaken for a torn one, though nothing follows it."""
    data, places = build([[b"before"], [bytes(range(1, 100))]])
    start, _ = places[-1]
    for at in range(start, start + RECORD_HEADER_BYTES + 99):
        assert scan(flipped(data, at), FIRST, NUMBER).tail is Tail.DAMAGED


def test_lost_page_before_a_record_that_no_sync_covered_is_torn() -> None:
    """A power cut may keep a later page and lose an earlier one: without a sync between them nothing was promised."""
    data, places = build([[b"kept"], [b"a" * 5000, b"b" * 5000]])
    start = places[1][0]
    for lost in range(start, places[2][1], 512):
        found = scan(data[:lost] + bytes(512) + data[lost + 512 :], FIRST, NUMBER)
        assert found.tail is Tail.TORN
        assert found.next_sequence == FIRST + (2 if lost >= places[2][0] else 1)


def test_lost_page_before_a_record_that_proves_a_sync_is_damage() -> None:
    """A later record that says the lost one was durable forbids cutting the log there."""
    data, places = build([[b"kept"], [b"a" * 5000], [b"b" * 5000]])
    start = places[1][0]
    found = scan(data[:start] + bytes(512) + data[start + 512 :], FIRST, NUMBER)
    assert found.tail is Tail.DAMAGED
    assert PAGE_BYTES <= found.bad_offset <= start


def test_rubbish_behind_the_end_loses_nothing() -> None:
    """A changed byte where nothing was ever written leaves all records readable and the log usable."""
    data, places = build([[b"one", b"two"], [b"three"]])
    for at in range(places[-1][1], len(data), 7):
        found = scan(flipped(data, at), FIRST, NUMBER)
        assert (len(found.spans), found.tail) == (3, Tail.TORN)


def test_flip_in_the_padding_before_a_page_is_harmless() -> None:
    """Bytes between a sync and the next page carry nothing."""
    data, places = build([[b"one"], [b"two"]])
    for at in range(places[0][1], places[1][0], 5):
        assert len(scan(flipped(data, at), FIRST, NUMBER).spans) == 2


def test_record_of_another_file_is_not_believed() -> None:
    """Bytes of an older file that a disk brings back do not pass for a record, even with the right sequence."""
    data, _ = build([])
    data = data[:PAGE_BYTES] + encode_record(b"stale", FIRST, FIRST - 1, NUMBER - 1) + bytes(100)
    assert scan(data, FIRST, NUMBER).spans == ()


@given(st.binary(max_size=3000), st.integers(0, 3000))
@settings(derandomize=True, max_examples=80, deadline=None)
def test_any_bytes_are_judged(noise: bytes, shift: int) -> None:
    """No content whatever makes a scan fail, and records before the noise survive it."""
    data, _ = build([[b"one"]], slack=0)
    found = scan(data + bytes(shift) + noise, FIRST, NUMBER)
    assert found.next_sequence == FIRST + 1


def test_flip_of_any_byte_of_the_file_header_is_damage() -> None:
    """The file header is never torn, so any difference is damage."""
    page = encode_file_header(FileHeader(VOLUME, NUMBER, FIRST))
    assert decode_file_header(page, VOLUME, "f") == FileHeader(VOLUME, NUMBER, FIRST)
    for at in range(56):
        with pytest.raises(CorruptWal, match="byte 0"):
            decode_file_header(flipped(page, at), VOLUME, "f")


def test_file_of_another_volume_is_refused() -> None:
    """A log that is not this volume's is named as such, not as damaged."""
    page = encode_file_header(FileHeader(VolumeId(bytes(16)), 1, 1))
    with pytest.raises(VolumeMismatch):
        decode_file_header(page, VOLUME, "f")


def test_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a later version is left alone."""
    monkeypatch.setattr("dwd.codec.wal_frame.VERSION", 2)
    page = encode_file_header(FileHeader(VOLUME, 1, 1))
    monkeypatch.undo()
    with pytest.raises(FormatTooNew):
        decode_file_header(page, VOLUME, "f")
