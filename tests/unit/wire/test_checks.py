"""What a mount may say: everything else is refused before it is looked up or logged."""

import errno
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.errors import BadRequest, NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber, LogIndex, RequestNumber, SegmentId, SessionId
from dwd.model.limits import FILE_BYTES_MAX, FRAME_BODY_BYTES_MAX, INLINE_BYTES_MAX, SEGMENT_BYTES_MAX
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.namespace import queries
from dwd.namespace.apply import apply
from dwd.namespace.commands import (
    Command,
    FileData,
    Link,
    MakeNode,
    OpenSession,
    RemoveDirectory,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetXattr,
    StoreData,
    Unlink,
    decode_command,
    encode_command,
)
from dwd.raft.replication import APPEND_BYTES_MAX
from dwd.wire import messages as wire
from dwd.wire.checks import check_request, check_store
from tests.unit.namespace.volume import Volume

SESSION = SessionId(b"s" * 16)
ONE = RequestNumber(1)
WRONG_NUMBERS = [-1, -(1 << 63), 1 << 63, (1 << 64) - 1]


def store(*files: FileData) -> wire.Store:
    """A Store of these."""
    return wire.Store(ONE, RequestNumber(0), files, durable=False)


def ranges(*laid: tuple[int, int, int]) -> wire.Store:
    """A Store of one file."""
    return store(FileData(InodeNumber(2), laid))


@pytest.mark.parametrize("number", WRONG_NUMBERS)
def test_numbers_that_no_inode_has(number: int) -> None:
    """Wherever an inode's number stands, one that has no key is BadRequest."""
    wrong = InodeNumber(number)
    requests: list[wire.Request] = [
        wire.Lookup(wrong, b"a"),
        wire.GetInode(wrong),
        wire.ReadDirectory(wrong, 0, 1),
        wire.ReadDirectory(ROOT, number, 1),
        wire.GetXattr(wrong, b"a"),
        wire.ListXattrs(wrong),
        wire.Read(wrong, 0, 1),
        wire.Read(ROOT, number, 1),
        wire.Read(ROOT, 0, number),
        wire.Mutate(RequestNumber(number), RequestNumber(0), Unlink(ROOT, b"a")),
        wire.Mutate(ONE, RequestNumber(number), Unlink(ROOT, b"a")),
        wire.Store(RequestNumber(number), RequestNumber(0), (), durable=False),
    ]
    operations: list[wire.Mutation] = [
        MakeNode(wrong, b"a", InodeNumber(0), 0o100644, 0, 0),
        MakeNode(ROOT, b"a", InodeNumber(0), number, 0, 0),
        MakeNode(ROOT, b"a", InodeNumber(0), 0o100644, number, 0),
        MakeNode(ROOT, b"a", InodeNumber(0), 0o100644, 0, number),
        MakeNode(ROOT, b"a", InodeNumber(0), 0o100644, 0, 0, number),
        Link(wrong, ROOT, b"a"),
        Link(ROOT, wrong, b"a"),
        Unlink(wrong, b"a"),
        RemoveDirectory(wrong, b"a"),
        Rename(wrong, b"a", ROOT, b"b"),
        Rename(ROOT, b"a", wrong, b"b"),
        SetAttributes(wrong),
        SetAttributes(ROOT, mode=number),
        SetAttributes(ROOT, uid=number),
        SetAttributes(ROOT, gid=number),
        SetXattr(wrong, b"a", b""),
        RemoveXattr(wrong, b"a"),
    ]
    for request in [*requests, *(wire.Mutate(ONE, RequestNumber(0), o) for o in operations)]:
        with pytest.raises(BadRequest):
            check_request(request)


def test_times_are_64_bits() -> None:
    """Times before 1970 are times; what has more bits than a kernel's is not."""
    for time in (-1, -(1 << 63), (1 << 63) - 1):
        check_request(wire.Mutate(ONE, RequestNumber(0), SetAttributes(ROOT, atime=time, mtime=time)))
    for change in (SetAttributes(ROOT, atime=1 << 63), SetAttributes(ROOT, mtime=1 << 63)):
        with pytest.raises(BadRequest):
            check_request(wire.Mutate(ONE, RequestNumber(0), change))
    with pytest.raises(BadRequest):
        check_store(store(FileData(ROOT, mtime=1 << 63)), 0)


@pytest.mark.parametrize(
    ("hello", "fine"),
    [
        (wire.Hello(1, SESSION, "/mnt", ONE, ()), True),
        (wire.Hello(1, SessionId(b"short"), "/mnt", ONE, ()), False),
        (wire.Hello(1, SESSION, "x" * 4097, ONE, ()), False),
    ],
)
def test_hello(hello: wire.Hello, fine: bool) -> None:
    """A session has 16 bytes and a label of the length of a path."""
    if fine:
        check_request(hello)
        return
    with pytest.raises(BadRequest):
        check_request(hello)


def test_long_fields() -> None:
    """A field too long for a command is refused; one that POSIX has an errno for is left to the namespace."""
    long, longer = b"x" * (128 << 10), b"x" * ((128 << 10) + 1)
    makers: list[Callable[[bytes], SetXattr | MakeNode | Unlink | Rename]] = [
        lambda raw: SetXattr(ROOT, b"a", raw),
        lambda raw: SetXattr(ROOT, raw, b""),
        lambda raw: MakeNode(ROOT, b"a", InodeNumber(0), 0o120777, 0, 0, 0, raw),
        lambda raw: Unlink(ROOT, raw),
        lambda raw: Rename(ROOT, b"a", ROOT, raw),
    ]
    for make in makers:
        check_request(wire.Mutate(ONE, RequestNumber(0), make(long)))
        with pytest.raises(BadRequest):
            check_request(wire.Mutate(ONE, RequestNumber(0), make(longer)))


def test_good_stores() -> None:
    """Ranges that lie in the payload, in any order; inline bytes; times alone."""
    check_store(ranges((100, 5, 5), (0, 5, 0)), 10)
    check_store(store(FileData(InodeNumber(2), (), ((0, b"x" * INLINE_BYTES_MAX),))), 0)
    check_store(store(FileData(InodeNumber(2), mtime=5)), 0)
    check_store(ranges((FILE_BYTES_MAX - 5, 5, 0)), 5)
    check_store(store(), SEGMENT_BYTES_MAX)


@pytest.mark.parametrize(
    ("request_", "length"),
    [
        (ranges((-1, 5, 0)), 10),
        (ranges((0, 0, 0)), 10),
        (ranges((0, -5, 9)), 10),
        (ranges((0, 5, -1)), 10),
        (ranges((0, 5, 6)), 10),
        (ranges((0, 5, 0)), 0),
        (ranges((0, 5, 0), (10, 5, 0)), 10),
        (ranges((0, 5, 5), (10, 6, 0)), 10),
        (store(FileData(InodeNumber(2), ((0, 5, 0),)), FileData(InodeNumber(3), ((0, 5, 4),))), 10),
        (store(FileData(InodeNumber(2), (), ((0, b""),))), 0),
        (store(FileData(InodeNumber(2), (), ((-1, b"x"),))), 0),
        (store(FileData(InodeNumber(-1))), 0),
        (store(FileData(InodeNumber(2), (), ((0, b"x" * (INLINE_BYTES_MAX + 1)),))), 0),
        (store(*[FileData(InodeNumber(2))] * 8193), 0),
        (ranges(*[(i, 1, i) for i in range(4097)]), 5000),
        (store(), SEGMENT_BYTES_MAX + 1),
    ],
)
def test_bad_stores(request_: wire.Store, length: int) -> None:
    """What would count bytes twice, reach outside, or be too much, is BadRequest."""
    with pytest.raises(BadRequest):
        check_store(request_, length)


@pytest.mark.parametrize("offset", [FILE_BYTES_MAX, FILE_BYTES_MAX - 4, (1 << 64) - 1])
def test_beyond_the_longest_file(offset: int) -> None:
    """A file that would grow too long is EFBIG, inline or not."""
    for request in (ranges((offset, 5, 0)), store(FileData(InodeNumber(2), (), ((offset, b"12345"),)))):
        with pytest.raises(NamespaceRefusal) as refusal:
            check_store(request, 5)
        assert refusal.value.number == errno.EFBIG


NUMBERS = st.one_of(st.integers(0, 5), st.sampled_from([-1, 1 << 32, 0o100644, 0o040755, 1 << 44, *WRONG_NUMBERS]))
RAW = st.one_of(st.binary(max_size=3), st.sampled_from([b"f", b"d", b"user.a", b"system.posix_acl_access", b"x" * 300]))
MAYBE = st.none() | NUMBERS
OPERATIONS = st.one_of(
    st.builds(MakeNode, NUMBERS, RAW, st.just(InodeNumber(0)), NUMBERS, NUMBERS, NUMBERS, NUMBERS, RAW),
    st.builds(Link, NUMBERS, NUMBERS, RAW),
    st.builds(Unlink, NUMBERS, RAW),
    st.builds(RemoveDirectory, NUMBERS, RAW),
    st.builds(Rename, NUMBERS, RAW, NUMBERS, RAW, st.booleans(), st.booleans()),
    st.builds(SetAttributes, NUMBERS, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, st.booleans()),
    st.builds(SetXattr, NUMBERS, RAW, RAW, st.booleans(), st.booleans()),
    st.builds(RemoveXattr, NUMBERS, RAW),
)
FILES = st.builds(
    FileData,
    NUMBERS,
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=3).map(tuple),
    st.lists(st.tuples(NUMBERS, RAW), max_size=2).map(tuple),
    MAYBE,
    MAYBE,
)
REQUESTS = st.one_of(
    st.builds(wire.Mutate, NUMBERS, NUMBERS, OPERATIONS),
    st.builds(wire.Store, NUMBERS, NUMBERS, st.lists(FILES, max_size=3).map(tuple), st.booleans()),
    st.builds(wire.Lookup, NUMBERS, RAW),
    st.builds(wire.GetInode, NUMBERS),
    st.builds(wire.ReadDirectory, NUMBERS, NUMBERS, st.integers(1, 9)),
    st.builds(wire.GetXattr, NUMBERS, RAW),
    st.builds(wire.ListXattrs, NUMBERS),
    st.builds(wire.Read, NUMBERS, NUMBERS, NUMBERS),
)


def perform(volume: Volume, request: wire.Request) -> None:
    """What the daemon does with a request, less its disks."""
    check_request(request)
    state = volume.state
    match request:
        case wire.Mutate(operation=operation):
            if isinstance(operation, MakeNode):
                operation = msgspec.structs.replace(operation, number=volume.next_number)
            log(volume, Command(volume.now, operation, SESSION, request.request, request.answered))
        case wire.Store():
            check_store(request, 5)
            stored = StoreData(volume.segment(b"12345"), request.files)
            log(volume, Command(volume.now, stored, SESSION, request.request, request.answered))
        case wire.Lookup():
            queries.lookup(state, request.parent, request.name)
        case wire.GetInode():
            state.find_inode(request.number)
        case wire.ReadDirectory():
            queries.list_directory(state, request.number, request.cookie, request.limit)
        case wire.GetXattr():
            state.find_xattr(state.inode(request.number).number, request.name)
        case wire.ListXattrs():
            queries.list_xattrs(state, request.number)
        case wire.Read():
            list(queries.extents_within(state, request.number, request.offset, request.offset + request.length))
        case _:
            raise AssertionError


def log(volume: Volume, command: Command) -> None:
    """Through the log's bytes."""
    volume.log.append(command)
    apply(volume.state, LogIndex(len(volume.log)), decode_command(encode_command(command)))


@settings(max_examples=400)
@given(st.lists(REQUESTS, max_size=8))
def test_no_mount_can_break_the_namespace(requests: list[wire.Request]) -> None:
    """Any requests with any numbers: each is done or refused, no exception gets out, and the survey stays clean."""
    volume = Volume()
    volume.do(OpenSession(SESSION, "/mnt"))
    volume.make(b"f")
    volume.make(b"d", 0o040755)
    volume.write(InodeNumber(2), 0, b"abc")
    for request in requests:
        try:
            perform(volume, wire.decode_request(wire.encode_message(request)))
        except (BadRequest, NamespaceRefusal):
            continue
    volume.check()


def test_largest_requests_fit_in_a_log_entry() -> None:
    """What passes the checks makes a command that Raft takes (invariant R10), and a frame holds the answer."""
    wide = (1 << 63) - 1
    files = [FileData(InodeNumber(wide), ((FILE_BYTES_MAX - 1, 1, i),), (), wide, wide) for i in range(4096)]
    files[0] = msgspec.structs.replace(
        files[0], ranges=(), inline=((FILE_BYTES_MAX - INLINE_BYTES_MAX, b"x" * INLINE_BYTES_MAX),)
    )
    largest = store(*files)
    check_store(largest, SEGMENT_BYTES_MAX)
    assert len(wire.encode_message(largest)) < FRAME_BODY_BYTES_MAX
    segment = Segment(LogIndex(0), SegmentId(wide), Protection(16, 16), 1 << 22, 0, (wide,) * 32, bytes(32))  # type: ignore[arg-type]
    stored = Command(wide, StoreData(segment, largest.files), SESSION, RequestNumber(wide), RequestNumber(wide))
    field = b"x" * (128 << 10)
    renamed = Command(wide, Rename(ROOT, field, ROOT, field), SESSION, RequestNumber(wide), RequestNumber(wide))
    for command in (stored, renamed):
        assert len(encode_command(command)) < APPEND_BYTES_MAX
