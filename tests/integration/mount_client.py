"""A mount without the mount: the protocol over a plain blocking socket, as strict or as rude as a test wants."""

import os
import secrets
import socket
import stat
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeVar

import attrs

from dwd.codec.frame import Frame, FrameReader, encode_header
from dwd.model.ids import ROOT, InodeNumber, RequestNumber, SessionId
from dwd.model.inode import Inode
from dwd.namespace.commands import FileData, MakeNode, SetAttributes, Unlink
from dwd.namespace.outcomes import Done
from dwd.wire.messages import (
    PROTOCOL_VERSION,
    Acknowledged,
    Barrier,
    Bytes,
    Changed,
    Failed,
    Found,
    GetInode,
    Goodbye,
    Hello,
    Lookup,
    Mutate,
    Orphaned,
    Push,
    Read,
    Recall,
    Release,
    Reply,
    Request,
    Store,
    Stored,
    Welcome,
    decode_answer,
    encode_message,
)

Operation = MakeNode | Unlink | SetAttributes
_Kind = TypeVar("_Kind")
_RECEIVE_S = 30.0


class Refused(Exception):
    """The daemon answered Failed."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(f"{failed.code} {failed.number}: {failed.message}")
        self.code, self.number = failed.code, failed.number


def connect(data: Path, *, within_s: float = 10.0) -> socket.socket:
    """A connection to a daemon that may be about to start."""
    deadline = time.monotonic() + within_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(data / "mount.sock"))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            connection.settimeout(_RECEIVE_S)
            return connection


@attrs.define
class Answer:
    """A reply and its payload."""

    reply: Reply
    payload: bytes


class MountClient:
    """One connection of one session. It answers nothing by itself: pushes are kept in `pushes`."""

    def __init__(self, data: Path, session: bytes | None = None, next_request: int = 1) -> None:
        self.data = data
        self.session = SessionId(session or secrets.token_bytes(16))
        self.next_request = next_request
        self.pushes: list[Push] = []
        self.welcome: Welcome | None = None
        self._correlation = 0
        self._answers: dict[int, Answer] = {}
        self._numbers: dict[int, RequestNumber] = {}  # of mutations in the air, by correlation
        self._unanswered: set[RequestNumber] = set()
        self._open()

    def _open(self) -> None:
        self._reader = FrameReader()
        self._frames: deque[Frame] = deque()
        self.socket = connect(self.data)

    def hello(self) -> Welcome:
        """Say Hello and wait for the Welcome."""
        correlation = self.send_hello()
        self.welcome = _expect(self.answer_to(correlation).reply, Welcome)
        return self.welcome

    def send_hello(self) -> int:
        """Say Hello."""
        return self.send(Hello(PROTOCOL_VERSION, self.session, "/test", RequestNumber(self.next_request), ()))

    def reconnect(self) -> Welcome:
        """Come back with the same session."""
        self.close()
        self._open()
        self._answers.clear()
        return self.hello()

    def close(self) -> None:
        """Hang up, without a Goodbye."""
        self.socket.close()

    def __enter__(self) -> Self:
        self.hello()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Requests

    def number(self) -> RequestNumber:
        """The number of the next mutation."""
        number = RequestNumber(self.next_request)
        self._unanswered.add(number)
        self.next_request += 1
        return number

    def answered(self) -> RequestNumber:
        """All mutations up to this one have been answered."""
        return RequestNumber(min(self._unanswered, default=self.next_request) - 1)

    def _note(self, correlation: int, request: Request) -> None:
        if isinstance(request, Mutate | Store):
            self._numbers[correlation] = request.request

    def send(self, request: Request, payload: bytes = b"") -> int:
        """Send a request; says its correlation."""
        self._correlation += 1
        self._note(self._correlation, request)
        self.socket.sendall(frame(self._correlation, request, payload))
        return self._correlation

    def send_many(self, requests: Sequence[Request]) -> list[int]:
        """Send requests in one write."""
        first = self._correlation + 1
        self._correlation += len(requests)
        for correlation, request in enumerate(requests, first):
            self._note(correlation, request)
        self.socket.sendall(b"".join(frame(first + i, request) for i, request in enumerate(requests)))
        return list(range(first, self._correlation + 1))

    def call(self, request: Request, payload: bytes = b"") -> Answer:
        """Ask, and wait for the answer. Raises Refused."""
        answer = self.answer_to(self.send(request, payload))
        if isinstance(answer.reply, Failed):
            raise Refused(answer.reply)
        return answer

    def answer_to(self, correlation: int) -> Answer:
        """Wait for an answer; others are kept. Raises ConnectionError when the daemon hangs up."""
        while correlation not in self._answers:
            self._receive()
        return self._answers.pop(correlation)

    def wait_for_push(self) -> Push:
        """Wait for something unasked."""
        while not self.pushes:
            self._receive()
        return self.pushes.pop(0)

    def _receive(self) -> None:
        count = self.socket.recv_into(self._reader.space())
        if not count:
            raise ConnectionError("the daemon hung up")
        for received in self._reader.received(count):
            answer = decode_answer(received.body)
            if isinstance(answer, Recall | Orphaned):
                self.pushes.append(answer)
            else:
                payload = bytes(memoryview(received.payload)[: received.payload_length])
                self._answers[received.correlation] = Answer(answer, payload)
                self._unanswered.discard(self._numbers.pop(received.correlation, RequestNumber(0)))

    # What tests do most

    def mutate(self, operation: Operation) -> Done:
        """Perform one change."""
        return _expect(self.call(self.mutation(operation)).reply, Changed).done

    def mutation(self, operation: Operation) -> Mutate:
        """A Mutate with the next number."""
        number = self.number()
        return Mutate(number, self.answered(), operation)

    def make(self, name: bytes, parent: InodeNumber = ROOT) -> Inode:
        """Create an empty file."""
        return self.mutate(make_file(name, parent)).inodes[0]

    def unlink(self, name: bytes, parent: InodeNumber = ROOT) -> Done:
        """Remove a name."""
        return self.mutate(Unlink(parent, name))

    def truncate(self, number: InodeNumber, size: int) -> Inode:
        """Set a size."""
        return self.mutate(SetAttributes(number, size=size)).inodes[0]

    def lookup(self, name: bytes, parent: InodeNumber = ROOT) -> Inode | None:
        """The inode under a name."""
        return _expect(self.call(Lookup(parent, name)).reply, Found).inode

    def inode(self, number: InodeNumber) -> Inode | None:
        """An inode."""
        return _expect(self.call(GetInode(number)).reply, Found).inode

    def storing(self, number: InodeNumber, offset: int, data: bytes, *, durable: bool = False) -> Store:
        """A Store of one range, with the next number; `data` is its payload."""
        request = self.number()
        files = (FileData(number, ((offset, len(data), 0),)),)
        return Store(request, self.answered(), files, durable)

    def store(self, number: InodeNumber, offset: int, data: bytes, *, durable: bool = False) -> Stored:
        """Store bytes in a segment."""
        return _expect(self.call(self.storing(number, offset, data, durable=durable), data).reply, Stored)

    def store_inline(self, number: InodeNumber, offset: int, data: bytes, *, durable: bool = False) -> Stored:
        """Store bytes in the log."""
        request = self.number()
        files = (FileData(number, (), ((offset, data),)),)
        return _expect(self.call(Store(request, self.answered(), files, durable)).reply, Stored)

    def read(self, number: InodeNumber, offset: int, length: int) -> bytes:
        """Read bytes of a file, at most 1 MiB."""
        answer = self.call(Read(number, offset, length))
        _expect(answer.reply, Bytes)
        return answer.payload

    def read_all(self, number: InodeNumber) -> bytes:
        """All of a file."""
        pieces: list[bytes] = []
        position = 0
        while piece := self.read(number, position, 1 << 20):
            pieces.append(piece)
            position += len(piece)
        return b"".join(pieces)

    def barrier(self) -> None:
        """Wait until everything answered is durable."""
        _expect(self.call(Barrier()).reply, Acknowledged)

    def release(self, *numbers: InodeNumber) -> None:
        """Let orphans go."""
        _expect(self.call(Release(numbers)).reply, Acknowledged)

    def goodbye(self) -> None:
        """End the session."""
        _expect(self.call(Goodbye()).reply, Acknowledged)
        self.close()


def make_file(name: bytes, parent: InodeNumber = ROOT) -> MakeNode:
    """The operation that creates an empty file."""
    return MakeNode(parent, name, InodeNumber(0), stat.S_IFREG | 0o644, os.getuid(), os.getgid())


def frame(correlation: int, request: Request, payload: bytes = b"") -> bytes:
    """A whole frame."""
    body = encode_message(request)
    return encode_header(correlation, len(body), len(payload)) + body + payload


def _expect(reply: object, kind: type[_Kind]) -> _Kind:
    if isinstance(reply, Failed):
        raise Refused(reply)
    assert isinstance(reply, kind), reply
    return reply
