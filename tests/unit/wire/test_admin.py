"""The admin protocol's messages."""

import re
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwd.model.errors import BadRequest, BrickFault, NotPermitted
from dwd.wire.admin import (
    Answer,
    Call,
    Failed,
    Progress,
    Result,
    decode_answer,
    decode_arguments,
    decode_call,
    decode_report,
    encode_answer,
    encode_call,
    failed,
    result,
)
from dwd.wire.remedies import REMEDIES
from dwd.wire.reports import StopReport
from dwd.wire.verbs import FSCK, STATISTICS, STOP, FsckRequest, StatisticsRequest

# The bytes of protocol 1. Never changed, only added to.
GOLDEN: dict[Answer, str] = {
    Progress(3, 10, "shards", "reading"): "9520030aa6736861726473a772656164696e67",
    Failed("no-space", "full", "remove", fault=False): "9522a86e6f2d7370616365a466756c6ca672656d6f7665c2",
}


def test_the_bytes_of_protocol_1_stay() -> None:
    """A client and a daemon of different versions read each other's envelope."""
    call = encode_call(FSCK, FsckRequest(metadata_only=True))
    assert call.hex() == "940101a46673636b81ad6d657461646174615f6f6e6c79c3"
    assert decode_arguments(FSCK, decode_call(call).arguments) == FsckRequest(metadata_only=True)
    for answer, raw in GOLDEN.items():
        assert encode_answer(answer).hex() == raw
        assert decode_answer(bytes.fromhex(raw)) == answer


def test_a_result_carries_the_report() -> None:
    """A report comes back equal; fields that a newer daemon added are passed over."""
    report = StopReport(was_running=True, pid=7)
    answer = decode_answer(encode_answer(result(report)))
    assert isinstance(answer, Result)
    assert decode_report(STOP, answer.report) == report
    newer = msgspec.msgpack.encode({"was_running": True, "pid": 7, "mood": "good"})
    assert decode_report(STOP, msgspec.Raw(newer)) == report


def test_wrong_arguments_name_the_field() -> None:
    """What is wrong with a request is said by name."""
    with pytest.raises(BadRequest, match=r"statistics: .*component"):
        decode_arguments(STATISTICS, msgspec.Raw(msgspec.msgpack.encode({"component": 7})))


def test_another_protocol_is_refused() -> None:
    """A call of another protocol version is refused with both numbers."""
    body = msgspec.msgpack.encode(Call(99, "status", msgspec.Raw(msgspec.msgpack.encode(StatisticsRequest()))))
    with pytest.raises(BadRequest, match="99"):
        decode_call(body)


@given(st.binary(max_size=60))
def test_garbage_is_refused_and_nothing_else(raw: bytes) -> None:
    """Each decoder returns a value or raises BadRequest."""
    for decode in (decode_call, decode_answer):
        with suppress(BadRequest):
            decode(raw)


def test_an_error_is_sent_with_its_kind_and_remedy() -> None:
    """The remedy belongs to the code; a message cannot break out of its line."""
    assert failed(BrickFault("disk\n\x1b[2Jgone\udcff")) == Failed(
        "brick-fault", r"disk\x0a\x1b[2Jgone\xff", REMEDIES["brick-fault"], fault=True
    )
    assert not failed(NotPermitted("no")).fault


def test_every_code_has_a_remedy_and_is_documented() -> None:
    """An operator is told what to do about each error code that the source declares, here and in the manual."""
    top = Path(__file__).parents[3]
    sources = [path.read_text() for path in (top / "dwd").rglob("*.py")]
    codes = {
        code for source in sources for code in re.findall(r'^    code(?:: [^=]+)? = "([a-z-]+)"$', source, re.MULTILINE)
    }
    assert {"bad-request", "not-running", "usage", "unknown-verb"} <= codes
    assert codes <= REMEDIES.keys()
    manual = (top / "docs/OPERATIONS.md").read_text()
    assert [line for code, text in sorted(REMEDIES.items()) if (line := f"| `{code}` | {text} |") not in manual] == []
