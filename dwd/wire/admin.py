"""The admin protocol: a Call in one frame; any number of Progress frames and one Result or Failed back.

A connection carries many calls, one after the other. Replies have the correlation of their call.
Arguments and results are msgpack maps of the verb's own types (verbs.py), here still raw: a call
whose verb is unknown or whose arguments are wrong can be answered.
"""

from typing import Final, TypeAlias, TypeVar

import attrs
import msgspec

from dwd.codec.undecodable import UNDECODABLE
from dwd.model.errors import BadRequest, DwError, Fault, Refusal
from dwd.model.limits import FRAME_BODY_BYTES_MAX
from dwd.model.units import KIB
from dwd.wire.remedies import REMEDIES
from dwd.wire.reports import Report
from dwd.wire.shown import shown_text
from dwd.wire.verb import AnyVerb, AuditClass, Request, Verb

ADMIN_PROTOCOL: Final = 1
SOCKET_NAME: Final = "dwd.sock"
CALL_BYTES_MAX: Final = 16 * KIB  # drop the connection
ANSWER_BYTES_MAX: Final = FRAME_BODY_BYTES_MAX  # refuse: reply-too-large

RequestT = TypeVar("RequestT", bound=Request)
ReportT = TypeVar("ReportT", bound=Report)


class UnknownVerb(BadRequest):
    """The daemon does not know this verb."""

    code = "unknown-verb"


class ReplyTooLarge(Refusal):
    """The answer does not fit in a frame."""

    code = "reply-too-large"


class Call(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Do this."""

    protocol: int
    verb: str
    arguments: msgspec.Raw


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """How far a call has come; total 0: not known. Sent again unchanged as a sign of life."""

    done: int
    total: int
    unit: str
    text: str


class Result(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """The verb's report."""

    report: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """The call was refused (nothing changed) or met a fault."""

    code: str
    message: str
    remedy: str
    fault: bool


Answer: TypeAlias = Progress | Result | Failed


@attrs.frozen
class Peer:
    """Who is at the other end of a unix socket, as the kernel says it."""

    pid: int
    uid: int
    gid: int


class AuditRecord(msgspec.Struct, frozen=True, array_like=True):
    """One call, whatever became of it. `outcome` is "ok", an error code, "hung-up" or "interrupted"."""

    time_ns: int
    uid: int
    pid: int
    verb: str
    audit: AuditClass
    outcome: str


_encoder = msgspec.msgpack.Encoder()
_call_decoder = msgspec.msgpack.Decoder(Call)
_answer_decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode_call(verb: AnyVerb, request: Request) -> bytes:
    """The body of a call."""
    return _encoder.encode(Call(ADMIN_PROTOCOL, verb.name, msgspec.Raw(_encoder.encode(request))))


def decode_call(body: bytes) -> Call:
    """Read a call.

    Raises:
        BadRequest: it is none, or of another protocol.
    """
    try:
        call = _call_decoder.decode(body)
    except UNDECODABLE as error:
        raise BadRequest(f"not a call: {error}") from error
    if call.protocol != ADMIN_PROTOCOL:
        raise BadRequest(f"the call speaks admin protocol {call.protocol}, this daemon {ADMIN_PROTOCOL}")
    return call


def decode_arguments(verb: Verb[RequestT, Report], arguments: msgspec.Raw) -> RequestT:
    """Read the request of a verb.

    Raises:
        BadRequest: a field is unknown, missing or of the wrong type.
    """
    try:
        return msgspec.msgpack.decode(arguments, type=verb.request)
    except UNDECODABLE as error:
        raise BadRequest(f"{verb.name}: {error}") from error


def decode_report(verb: Verb[Request, ReportT], raw: msgspec.Raw) -> ReportT:
    """Read the report of a verb. Fields of a newer daemon are passed over.

    Raises:
        BadRequest: it is none.
    """
    try:
        return msgspec.msgpack.decode(raw, type=verb.report)
    except UNDECODABLE as error:
        raise BadRequest(f"{verb.name}: not its report: {error}") from error


def encode_answer(answer: Answer) -> bytes:
    """The body of an answer."""
    return _encoder.encode(answer)


def decode_answer(body: bytes) -> Answer:
    """Read an answer.

    Raises:
        BadRequest: it is none.
    """
    try:
        return _answer_decoder.decode(body)
    except UNDECODABLE as error:
        raise BadRequest(f"not an answer: {error}") from error


def failed(error: DwError) -> Failed:
    """An error as it is shown and sent."""
    return Failed(error.code, shown_text(str(error)), REMEDIES.get(error.code, ""), isinstance(error, Fault))


def result(report: Report) -> Result:
    """A report as it is sent."""
    return Result(msgspec.Raw(_encoder.encode(report)))
