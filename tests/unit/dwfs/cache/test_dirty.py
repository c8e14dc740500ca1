"""Dirty data and flights against a bytearray and a daemon that lands flights in any order."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.ids import InodeNumber, LogIndex
from dwd.model.inode import Inode
from dwd.model.limits import INLINE_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.model.protection import Protection
from dwd.model.units import KIB, MIB
from dwfs.cache.dirty import Dirty, Flight, shipment

ONE = InodeNumber(1)
TWO = InodeNumber(2)


def inode(number: InodeNumber, *, size: int = 0, mtime: int = 0) -> Inode:
    """A stored file."""
    return Inode(LogIndex(1), number, 0o100644, 1, 0, 0, atime=0, mtime=mtime, ctime=0, size=size)


def stored_bytes(flight: Flight) -> dict[int, dict[int, int]]:
    """What a Store of this flight lays into each file, byte by byte."""
    files, payload = shipment(flight)
    raw = b"".join(payload)
    laid: dict[int, dict[int, int]] = {}
    for data in files:
        into = laid.setdefault(data.number, {})
        for offset, length, at in data.ranges:
            into.update(enumerate(raw[at : at + length], offset))
        for offset, piece in data.inline:
            into.update(enumerate(piece, offset))
    return laid


class World:
    """A mount's dirty data, the daemon's files, and what applications must read."""

    def __init__(self) -> None:
        self.dirty = Dirty()
        self.stored: dict[int, dict[int, int]] = {1: {}, 2: {}}
        self.expected: dict[int, dict[int, int]] = {1: {}, 2: {}}
        self.air: list[Flight] = []

    def step(self, step: "Step") -> None:
        if step.kind == "write":
            self.write(step.number, step.offset, step.data)
        elif step.kind == "start":
            self.start(step.number)
        else:
            self.land(step.number)

    def write(self, number: int, offset: int, data: bytes) -> None:
        self.dirty.write(InodeNumber(number), offset, data, now=0.0, mtime=1)
        self.expected[number].update(enumerate(data, offset))

    def start(self, number: int) -> None:
        file = self.dirty.get(InodeNumber(number))
        flight = self.dirty.plan() if number == 1 or file is None else self.dirty.plan_file(file)
        if flight is not None:
            self.air.append(flight)

    def land(self, which: int) -> None:
        if self.air:
            flight = self.air.pop(which % len(self.air))
            for number, laid in stored_bytes(flight).items():
                self.stored[number].update(laid)
            self.dirty.land(flight, [])

    def check(self) -> None:
        for number, expected in self.expected.items():
            shown = bytearray(300)
            for at, byte in self.stored[number].items():
                shown[at] = byte
            file = self.dirty.get(InodeNumber(number))
            if file is not None:
                file.overlay(shown, 0)
            assert {at: shown[at] for at in expected} == expected
        assert self.dirty.unstored_bytes == sum(file.bytes for file in self.dirty)


class Step(NamedTuple):
    """One thing that happens; what it does not need is ignored."""

    kind: str
    number: int
    offset: int
    data: bytes


_WRITES = st.builds(Step, st.just("write"), st.integers(1, 2), st.integers(0, 200), st.binary(min_size=1, max_size=60))
_STEPS = st.one_of(
    _WRITES,
    _WRITES,
    st.builds(Step, st.just("start"), st.integers(1, 2), st.just(0), st.just(b"")),
    st.builds(Step, st.just("land"), st.integers(0, 5), st.just(0), st.just(b"")),
)


@settings(max_examples=150)
@given(st.lists(_STEPS, max_size=30))
def test_what_was_written_is_read_whenever_flights_land(steps: list[Step]) -> None:
    """Flights land in any order, and a read shows every byte as it was written last, at every moment."""
    world = World()
    for step in steps:
        world.step(step)
        world.check()
    while len(world.dirty):
        world.start(1)
        world.land(0)
        world.check()
    assert world.dirty.weight == 0
    assert world.dirty.unstored_bytes == 0


def test_a_flight_is_at_most_a_segment() -> None:
    """Ten MiB go in three flights, the first two of them whole segments."""
    dirty = Dirty()
    for at in range(10):
        dirty.write(ONE, at * MIB, bytes(MIB), now=0.0, mtime=1)
    flights = [dirty.plan(), dirty.plan(), dirty.plan()]
    assert [flight and flight.bytes for flight in flights] == [SEGMENT_BYTES_MAX, SEGMENT_BYTES_MAX, 2 * MIB]
    assert dirty.plan() is None


def test_ranges_that_touch_are_sent_as_one() -> None:
    """A file that was written in a row is one extent, however it was buffered."""
    dirty = Dirty()
    for at in range(0, MIB, 4 * KIB):
        dirty.write(ONE, at, bytes(4 * KIB), now=0.0, mtime=1)
    flight = dirty.plan()
    assert flight is not None
    files, payload = shipment(flight)
    assert files[0].ranges == ((0, MIB, 0),)
    assert sum(map(len, payload)) == MIB


def test_small_files_share_a_flight_inline() -> None:
    """A little of several files goes in one message, without a segment."""
    dirty = Dirty()
    dirty.write(ONE, 5, b"one", now=0.0, mtime=7)
    dirty.write(TWO, 0, b"two", now=0.0, mtime=8)
    flight = dirty.plan()
    assert flight is not None
    files, payload = shipment(flight)
    assert [(data.number, data.inline, data.mtime) for data in files] == [
        (1, ((5, b"one"),), 7),
        (2, ((0, b"two"),), 8),
    ]
    assert payload == []


def test_a_flight_has_a_bounded_number_of_ranges() -> None:
    """Scattered bytes fill a flight by their number, and nothing is forgotten."""
    dirty = Dirty()
    for at in range(SEGMENT_RANGES_MAX + 10):
        dirty.write(ONE, 2 * at, b"x", now=0.0, mtime=1)
    first, second = dirty.plan(), dirty.plan()
    assert first is not None
    assert second is not None
    assert (first.bytes, second.bytes) == (SEGMENT_RANGES_MAX, 10)


def test_payload_has_few_buffers() -> None:
    """Pieces of 4 KiB are joined, so that one gathering write can take them."""
    dirty = Dirty()
    for at in range(1000):
        dirty.write(ONE, at * 8 * KIB, bytes(4 * KIB), now=0.0, mtime=1)
    flight = dirty.plan()
    assert flight is not None
    assert flight.bytes > INLINE_BYTES_MAX
    assert len(shipment(flight)[1]) < 100


def test_bytes_behind_a_truncate_are_not_sent() -> None:
    """What waits behind the new end is void; what lies before it is not."""
    dirty = Dirty()
    dirty.write(ONE, 0, b"0123456789", now=0.0, mtime=1)
    dirty.truncate(ONE, 4)
    flight = dirty.plan()
    assert flight is not None
    assert shipment(flight)[0][0].inline == ((0, b"0123"),)


def test_an_explicit_time_wins_over_a_late_one() -> None:
    """After utimens no flight carries the time of an earlier write."""
    dirty = Dirty()
    dirty.write(ONE, 0, b"x", now=0.0, mtime=5)
    dirty.settle_times(ONE, atime=False, mtime=True)
    flight = dirty.plan()
    assert flight is not None
    assert shipment(flight)[0][0].mtime is None


def test_a_time_that_an_earlier_flight_overwrote_goes_again() -> None:
    """Flights may land in any order, and the time that stays is the latest."""
    dirty = Dirty()
    dirty.write(ONE, 0, b"x", now=0.0, mtime=5)
    first = dirty.plan()
    dirty.write(ONE, 10, b"y", now=0.0, mtime=9)
    second = dirty.plan()
    assert first is not None
    assert second is not None
    dirty.land(second, [inode(ONE, mtime=9)])
    dirty.land(first, [inode(ONE, mtime=5)])
    again = dirty.plan()
    assert again is not None
    assert shipment(again)[0][0].mtime == 9


def test_a_file_that_is_held_is_not_planned() -> None:
    """An fsync sends its file itself; the others go on."""
    dirty = Dirty()
    dirty.write(ONE, 0, b"x", now=0.0, mtime=1)
    dirty.write(TWO, 0, b"y", now=0.0, mtime=1)
    held = dirty.hold(ONE)
    flight = dirty.plan()
    assert flight is not None
    assert [cargo.file.number for cargo in flight.cargo] == [TWO]
    assert held is not None
    dirty.let_go(held)
    assert dirty.plan() is not None


def test_a_file_that_is_gone_costs_nothing() -> None:
    """The bytes of an orphan that nobody reads are dropped, and their weight with them."""
    dirty = Dirty()
    dirty.write(ONE, 0, bytes(MIB), now=0.0, mtime=1)
    dirty.forget(ONE)
    assert (len(dirty), dirty.weight, dirty.waiting_bytes) == (0, 0, 0)


def test_flights_have_one_protection() -> None:
    """Files that are stored differently never share a segment; late times go along with anybody."""
    dirty, other = Dirty(), Protection(4, 2)
    dirty.touch(InodeNumber(9), atime=1)
    for number, protection in enumerate((None, other, None, other), 1):
        dirty.write(InodeNumber(number), 0, b"bytes", now=0.0, mtime=1, protection=protection)
    dirty.touch(InodeNumber(10), atime=1)
    flown = []
    while (flight := dirty.plan()) is not None:
        flown.append([cargo.file.number for cargo in flight.cargo])
    assert flown == [[9, 1, 3, 10], [2, 4]]


def test_file_that_was_moved_to_another_protection() -> None:
    """What the last write was told counts for all that waits."""
    dirty = Dirty()
    dirty.write(ONE, 0, b"x", now=0.0, mtime=1)
    dirty.write(TWO, 0, b"y", now=0.0, mtime=1, protection=Protection(1, 1))
    dirty.write(ONE, 9, b"z", now=0.0, mtime=1, protection=Protection(1, 1))
    flight = dirty.plan()
    assert flight is not None
    assert [cargo.file.number for cargo in flight.cargo] == [ONE, TWO]
