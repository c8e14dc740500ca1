"""Messages between a mount and its daemon: requests, replies, and what the daemon says unasked.

A request is what a client asks; what the log then says is a Command (dwd.namespace.commands). Every
mutation carries the session's request number, so that a retry after a lost reply is answered from
the outcome that was kept and not done again.
"""

from typing import TypeAlias

import msgspec

from dwd.codec.undecodable import UNDECODABLE
from dwd.model.errors import BadRequest
from dwd.model.ids import Epoch, InodeNumber, RequestNumber, SessionId, VolumeId
from dwd.model.inode import Inode
from dwd.namespace.commands import (
    FileData,
    Link,
    MakeNode,
    RemoveDirectory,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetXattr,
    Unlink,
)
from dwd.namespace.outcomes import Done
from dwd.namespace.queries import Listed, ListedRow

PROTOCOL_VERSION = 1

Mutation: TypeAlias = MakeNode | Link | Unlink | RemoveDirectory | Rename | SetAttributes | SetXattr | RemoveXattr


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first message of a connection; a mount that comes back names the session that it had."""

    protocol: int
    session: SessionId
    label: str  # the mount point, for status
    next_request: RequestNumber  # requests below this one were sent, or never will be
    holding: tuple[InodeNumber, ...]  # orphans that it still holds


class Lookup(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The inode under a name -> Found (with no inode when the name is free)."""

    parent: InodeNumber
    name: bytes


class GetInode(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """An inode by number -> Found."""

    number: InodeNumber


class ReadDirectory(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Entries behind a cookie (0: from the start) -> Entries.

    Cookies are at least 3: a mount uses 1 and 2 for . and .. itself.
    """

    number: InodeNumber
    cookie: int
    limit: int


class GetXattr(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """An extended attribute -> Value; Failed with ENODATA when it is not set."""

    number: InodeNumber
    name: bytes


class ListXattrs(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The names of the extended attributes -> Names."""

    number: InodeNumber


class Read(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Bytes of a file -> Bytes, the bytes as payload; fewer only at the end of the file."""

    number: InodeNumber
    offset: int
    length: int


class VolumeSpace(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Room and files of the volume -> Space."""


class Mutate(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A change of the namespace -> Done, or Failed. The inode number of a MakeNode is the daemon's choice: 0 here."""

    request: RequestNumber
    answered: RequestNumber
    operation: Mutation


class Store(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Bytes of files -> Stored. Ranges point into the payload (one segment); or all is inline and there is no payload.

    `durable`: answer only once it would survive a power cut, and everything before it.
    """

    request: RequestNumber
    answered: RequestNumber
    files: tuple[FileData, ...]
    durable: bool


class Barrier(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Answer once everything answered so far would survive a power cut -> Done."""


class Release(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """The mount no longer holds these orphans -> Done."""

    numbers: tuple[InodeNumber, ...]


class Goodbye(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """The mount ends: its session is closed -> Done."""


class Recalled(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """The answer to Recall: nothing is cached or unsent any more -> Done."""


Request: TypeAlias = (
    Hello
    | Lookup
    | GetInode
    | ReadDirectory
    | GetXattr
    | ListXattrs
    | Read
    | VolumeSpace
    | Mutate
    | Store
    | Barrier
    | Release
    | Goodbye
    | Recalled
)


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """The daemon's answer to Hello.

    `exclusive`: no other mount changes this volume, so what is read may be cached until a Recall.
    `orphans`: inodes without a name that this session may hold; it answers with Release for those
    that it does not.
    """

    protocol: int
    volume: VolumeId
    epoch: Epoch
    exclusive: bool
    orphans: tuple[InodeNumber, ...]
    available: int  # bytes that can be stored


class Found(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """An inode, or None: no such name, or no such inode."""

    inode: Inode | None


class Entries(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """A page of a directory; `complete` when nothing follows."""

    entries: tuple[Listed, ...]
    complete: bool


class EntryRows(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """How a daemon makes Entries: their inodes are rows of the store, which are encoded alike."""

    entries: list[ListedRow]
    complete: bool


class Value(msgspec.Struct, frozen=True, array_like=True, tag=35):
    """The value of an extended attribute."""

    value: bytes


class Names(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """Names of extended attributes."""

    names: tuple[bytes, ...]


class Bytes(msgspec.Struct, frozen=True, array_like=True, tag=37):
    """The payload is the bytes."""


class Space(msgspec.Struct, frozen=True, array_like=True, tag=38):
    """Bytes of file data, at the volume's protection: all, and still free; and files."""

    total: int
    available: int
    inodes: int


class Changed(msgspec.Struct, frozen=True, array_like=True, tag=39):
    """The outcome of a Mutate."""

    done: Done


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """The files of a Store as they are now (those that still exist), and the bytes that can still be stored."""

    inodes: tuple[Inode, ...]
    available: int


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """Done, with nothing to say."""


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """The request was refused or failed; nothing changed. `number` is an errno."""

    code: str
    number: int
    message: str


Reply: TypeAlias = Welcome | Found | Entries | Value | Names | Bytes | Space | Changed | Stored | Acknowledged | Failed


class Recall(msgspec.Struct, frozen=True, array_like=True, tag=64):
    """Another mount wants in: send what is dirty, cache nothing from now on, then say Recalled."""


class Orphaned(msgspec.Struct, frozen=True, array_like=True, tag=65):
    """Another mount removed the last name of these: say Release for those that are not held."""

    numbers: tuple[InodeNumber, ...]


Push: TypeAlias = Recall | Orphaned

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answer_decoder: msgspec.msgpack.Decoder[Reply | Push] = msgspec.msgpack.Decoder(Reply | Push)


def encode_message(message: Request | Reply | EntryRows | Push) -> bytes:
    """The body of a frame."""
    return _encoder.encode(message)


def decode_request(body: bytes) -> Request:
    """Read a request.

    Raises:
        BadRequest: it is none.
    """
    try:
        return _request_decoder.decode(body)
    except UNDECODABLE as error:
        raise BadRequest(f"not a request: {error}") from error


def decode_answer(body: bytes) -> Reply | Push:
    """Read a reply or a push.

    Raises:
        BadRequest: it is neither.
    """
    try:
        return _answer_decoder.decode(body)
    except UNDECODABLE as error:
        raise BadRequest(f"not a reply: {error}") from error
