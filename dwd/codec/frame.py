"""Frames of the sockets: a checked header, a msgpack body, and raw bytes behind it.

    offset  bytes
    0       4      magic "dwf1"
    4       4      length of the body
    8       4      length of the payload
    12      8      correlation: a reply has its request's; 0 is a message that nobody asked for
    20      4      low half of the XXH3-64 of the 20 bytes before

Integers are little-endian. Sans-IO: the shell receives into space() and reports with received().
"""

import struct
from typing import Final

import attrs
import xxhash

from dwd.model.errors import BadRequest
from dwd.model.limits import FRAME_BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX
from dwd.model.units import KIB

_MAGIC: Final = b"dwf1"
_FIELDS: Final = struct.Struct("<4sIIQ")
_HEADER: Final = struct.Struct("<4sIIQI")
HEADER_BYTES: Final = _HEADER.size
_BUFFER_BYTES: Final = 64 * KIB
_CHECK_MASK: Final = 0xFFFFFFFF


@attrs.frozen
class Frame:
    """One received frame. The payload's buffer may be longer than `payload_length`: see FrameReader."""

    correlation: int
    body: bytes
    payload: bytearray
    payload_length: int


def encode_header(correlation: int, body_length: int, payload_length: int) -> bytes:
    """The header of a frame whose body and payload follow it."""
    fields = _FIELDS.pack(_MAGIC, body_length, payload_length, correlation)
    return fields + (xxhash.xxh3_64_intdigest(fields) & _CHECK_MASK).to_bytes(4, "little")


def _decode_header(raw: bytes | bytearray | memoryview, body_max: int, payload_max: int) -> tuple[int, int, int]:
    magic, body_length, payload_length, correlation, check = _HEADER.unpack_from(raw)
    if magic != _MAGIC or xxhash.xxh3_64_intdigest(bytes(raw[: _FIELDS.size])) & _CHECK_MASK != check:
        raise BadRequest("not a frame: the header's magic or checksum is wrong")
    if body_length > body_max or payload_length > payload_max:
        raise BadRequest(
            f"frame too large: body {body_length} of {body_max}, payload {payload_length} of {payload_max} bytes"
        )
    return correlation, body_length, payload_length


class FrameReader:
    """Cut a stream into frames, in bounded memory: one buffer, and one frame in the making.

    Large payloads are received straight into a buffer of their own, which has `slack` zero bytes of
    room at its end: the erasure code pads a segment there instead of copying it.
    """

    def __init__(
        self, *, body_max: int = FRAME_BODY_BYTES_MAX, payload_max: int = FRAME_PAYLOAD_BYTES_MAX, slack: int = 0
    ) -> None:
        self._body_max = body_max
        self._payload_max = payload_max
        self._slack = slack
        self._buffer = bytearray(_BUFFER_BYTES)
        self._start = 0
        self._end = 0
        self._header: tuple[int, int, int] | None = None
        self._body: bytearray | None = None  # being filled, with the payload, when a frame exceeds the buffer
        self._payload = bytearray()
        self._filled = 0  # of body and payload together

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._body is not None and self._header is not None:
            _, body_length, payload_length = self._header
            if self._filled < body_length:
                return memoryview(self._body)[self._filled :]
            return memoryview(self._payload)[self._filled - body_length : payload_length]
        return memoryview(self._buffer)[self._end :]

    def received(self, count: int) -> list[Frame]:
        """Say that `count` bytes were put into space(); get the frames that are complete by it.

        Raises:
            BadRequest: the stream is not ours or a frame is over its limit; the connection must end.
        """
        frames: list[Frame] = []
        if self._body is not None:
            self._filled += count
            self._finish_large(frames)
            return frames
        self._end += count
        while self._take_small(frames):
            pass
        self._make_room()
        return frames

    def _finish_large(self, frames: list[Frame]) -> None:
        if self._header is None or self._body is None:
            return
        correlation, body_length, payload_length = self._header
        if self._filled < body_length + payload_length:
            return
        frames.append(Frame(correlation, bytes(self._body), self._payload, payload_length))
        self._header, self._body, self._payload, self._filled = None, None, bytearray(), 0

    def _take_small(self, frames: list[Frame]) -> bool:
        """Take one frame out of the buffer; False when what is there is not a whole one."""
        have = self._end - self._start
        if self._header is None:
            if have < HEADER_BYTES:
                return False
            view = memoryview(self._buffer)[self._start : self._start + HEADER_BYTES]
            self._header = _decode_header(view, self._body_max, self._payload_max)
            self._start += HEADER_BYTES
            have -= HEADER_BYTES
        correlation, body_length, payload_length = self._header
        if have < body_length + payload_length:
            if body_length + payload_length > _BUFFER_BYTES - HEADER_BYTES:
                self._begin_large(have, body_length, payload_length)
            return False
        middle = self._start + body_length
        payload = self._buffer[middle : middle + payload_length]
        if payload_length and self._slack:
            payload.extend(bytes(self._slack))
        frames.append(Frame(correlation, bytes(self._buffer[self._start : middle]), payload, payload_length))
        self._start = middle + payload_length
        self._header = None
        return True

    def _begin_large(self, have: int, body_length: int, payload_length: int) -> None:
        self._body = bytearray(body_length)
        self._payload = bytearray(payload_length + self._slack)
        in_body = min(have, body_length)
        self._body[:in_body] = self._buffer[self._start : self._start + in_body]
        rest = have - in_body
        self._payload[:rest] = self._buffer[self._start + in_body : self._end]
        self._filled = have
        self._start = self._end = 0

    def _make_room(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start > _BUFFER_BYTES // 2 or self._end == _BUFFER_BYTES:
            rest = self._buffer[self._start : self._end]
            self._buffer[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
