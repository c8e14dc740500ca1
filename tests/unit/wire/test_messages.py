"""Messages between mount and daemon: round trips, pinned bytes, and any bytes at all."""

import tracemalloc
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dwd.model.errors import BadRequest
from dwd.model.ids import Epoch, InodeNumber, LogIndex, RequestNumber, SessionId, VolumeId
from dwd.model.inode import Inode
from dwd.model.protection import Protection
from dwd.namespace.commands import FileData, Rename
from dwd.namespace.outcomes import Done
from dwd.namespace.queries import Listed
from dwd.wire import messages as wire

GOLDEN = Path(__file__).parents[2] / "golden"
INODE: Final = Inode(
    LogIndex(300), InodeNumber(2), 0o100644, 1, 1000, 1000, 7, 8, 9, 10, 10, protection=Protection(4, 2)
)
NUMBER: Final = InodeNumber(2)
REQUESTS: list[wire.Request] = [
    wire.Hello(1, SessionId(b"s" * 16), "/mnt", RequestNumber(1), (NUMBER,)),
    wire.Lookup(NUMBER, b"\xff"),
    wire.GetInode(NUMBER),
    wire.ReadDirectory(NUMBER, 3, 100),
    wire.GetXattr(NUMBER, b"user.a"),
    wire.ListXattrs(NUMBER),
    wire.Read(NUMBER, 1 << 40, 4096),
    wire.VolumeSpace(),
    wire.Mutate(RequestNumber(5), RequestNumber(4), Rename(NUMBER, b"a", NUMBER, b"b", replace=False)),
    wire.Store(RequestNumber(6), RequestNumber(4), (FileData(NUMBER, ((0, 5, 0),), ((9, b"x"),), 1, 2),), durable=True),
    wire.Barrier(),
    wire.Release((NUMBER,)),
    wire.Goodbye(),
    wire.Recalled(),
]
ANSWERS: list[wire.Reply | wire.Push] = [
    wire.Welcome(1, VolumeId(b"v" * 16), Epoch(3), True, (NUMBER,), 1 << 40),
    wire.Found(INODE),
    wire.Found(None),
    wire.Entries((Listed(b"\xff", 4, INODE),), complete=True),
    wire.Value(b"value"),
    wire.Names((b"user.a", b"user.b")),
    wire.Bytes(),
    wire.Space(3, 2, 1),
    wire.Changed(Done((INODE,), (NUMBER,), 7)),
    wire.Stored((INODE,), 9),
    wire.Acknowledged(),
    wire.Failed("no-space", 28, "full"),
    wire.Recall(),
    wire.Orphaned((NUMBER,)),
]


def test_every_message_has_an_example() -> None:
    """A message that is added is tested by what follows."""
    assert {type(m) for m in REQUESTS} == set(get_args(wire.Request))
    assert {type(m) for m in ANSWERS} == set(get_args(wire.Reply)) | set(get_args(wire.Push))


def test_round_trips() -> None:
    """What is said is what is heard; a request is no answer, and the other way round."""
    for request in REQUESTS:
        raw = wire.encode_message(request)
        assert wire.decode_request(raw) == request
        with pytest.raises(BadRequest):
            wire.decode_answer(raw)
    for answer in ANSWERS:
        raw = wire.encode_message(answer)
        assert wire.decode_answer(raw) == answer
        with pytest.raises(BadRequest):
            wire.decode_request(raw)


def test_bytes_have_not_changed() -> None:
    """A mount and a daemon of different builds understand each other: docs/FORMATS.md has the tags."""
    said = [f"{type(m).__name__} {wire.encode_message(m).hex()}" for m in (*REQUESTS, *ANSWERS)]
    assert said == (GOLDEN / "mount_messages_v1.1.txt").read_text().splitlines()


def test_what_was_said_before_fields_were_added() -> None:
    """A mount or daemon of before inodes had a protection is understood: the inode has the volume's."""
    lines = [line.split() for line in (GOLDEN / "mount_messages_v1.txt").read_text().splitlines()]
    old, requests = [bytes.fromhex(said) for _, said in lines], len(REQUESTS)
    assert [wire.decode_request(said) for said in old[:requests]] == REQUESTS
    found = wire.decode_answer(old[requests + 1])
    assert found == wire.Found(replace(INODE, protection=None))
    assert [type(wire.decode_answer(said)) for said in old[requests:]] == [type(answer) for answer in ANSWERS]


def test_by_hand() -> None:
    """A message is an array of its tag and its fields."""
    assert wire.encode_message(wire.Lookup(InodeNumber(1), b"a")) == b"\x93\x02\x01\xc4\x01a"
    assert wire.encode_message(wire.Barrier()) == b"\x91\x0b"
    assert wire.encode_message(wire.Failed("x", 2, "")) == b"\x94\x2a\xa1x\x02\xa0"
    assert wire.decode_request(b"\x94\x02\x01\xc4\x01a\xa5later") == wire.Lookup(InodeNumber(1), b"a")


def decodes_or_refuses(raw: bytes) -> None:
    """Any bytes are a message or a BadRequest."""
    for decode in (wire.decode_request, wire.decode_answer):
        try:
            wire.encode_message(decode(raw))
        except BadRequest:
            continue


@given(st.binary(max_size=60))
def test_any_bytes(raw: bytes) -> None:
    """Noise never gets further than BadRequest."""
    decodes_or_refuses(raw)


@given(st.sampled_from((*REQUESTS, *ANSWERS)), st.integers(0, 200), st.binary(min_size=1, max_size=4), st.booleans())
def test_any_damage(message: wire.Request | wire.Reply | wire.Push, at: int, noise: bytes, cut: bool) -> None:
    """Nor does a message with other bytes somewhere, or cut short."""
    raw = wire.encode_message(message)
    at %= len(raw)
    decodes_or_refuses(raw[:at] + noise + (b"" if cut else raw[at + len(noise) :]))


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.binary(max_size=4), st.text(max_size=4)
    ),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from([*range(1, 15), *range(32, 43), 64, 65]), st.lists(VALUES, max_size=6))
def test_any_fields(tag: int, fields: list[object]) -> None:
    """A true tag with fields of any type and number is a message or a BadRequest."""
    decodes_or_refuses(msgspec.msgpack.encode([tag, *fields]))


@pytest.mark.parametrize("opening", [b"\x91", b"\x81", b"\xdd\0\0\0\1"])
def test_nesting_is_bounded(opening: bytes) -> None:
    """A field that nests deeper than the decoder goes is BadRequest too."""
    deep = opening * (1 << 18)
    for start in (b"\x93\x0c\x90", b"\x92\x0c", b"\x94\x21\xc0", b""):
        decodes_or_refuses(start + deep)
        with pytest.raises(BadRequest):
            wire.decode_request(start + deep)


@pytest.mark.parametrize(
    "raw", [b"\x92\x0c\xdd\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff\x0c", b"\x93\x02\x01\xc6\xff\xff\xff\xff"]
)
def test_claimed_sizes_cost_nothing(raw: bytes) -> None:
    """An array or string that claims to have four thousand million members takes no memory for them."""
    tracemalloc.start()
    with pytest.raises(BadRequest):
        wire.decode_request(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
