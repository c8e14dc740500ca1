"""What a mount's request may say: checked before anything is looked up or logged.

Rules: a request that passes cannot make a key, a record or a command that its format has no room for, so a mount can
break no invariant behind it. What POSIX has an errno for is left to the namespace. Pure.
"""

import errno
from itertools import pairwise
from typing import Final

from dwd.model.errors import BadRequest, NamespaceRefusal
from dwd.model.limits import (
    FILE_BYTES_MAX,
    INLINE_BYTES_MAX,
    LABEL_CHARACTERS_MAX,
    READ_BYTES_MAX,
    REQUEST_FIELD_BYTES_MAX,
    SEGMENT_BYTES_MAX,
    SEGMENT_RANGES_MAX,
)
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
from dwd.wire.messages import (
    GetInode,
    GetXattr,
    Hello,
    ListXattrs,
    Lookup,
    Mutate,
    Mutation,
    Read,
    ReadDirectory,
    Request,
    Store,
)

_SESSION_BYTES: Final = 16
_NUMBER_MAX: Final = (1 << 63) - 1  # of inodes, cookies, requests and device numbers
_OWNER_MAX: Final = (1 << 32) - 1
_MODE_MAX: Final = 0o177777
_TIME_LEAST, _TIME_MAX = -(1 << 63), (1 << 63) - 1  # ns


def check_request(request: Request) -> None:
    """Whether every number, and every length, is one that can be. Stores have more to them: check_store().

    Raises:
        BadRequest: it is not.
    """
    match request:
        case Hello():
            _check_hello(request)
        case Lookup(parent=number) | GetInode(number=number) | GetXattr(number=number) | ListXattrs(number=number):
            _within("inode", number, 0, _NUMBER_MAX)
        case ReadDirectory():
            _within("inode", request.number, 0, _NUMBER_MAX)
            _within("cookie", request.cookie, 0, _NUMBER_MAX)
        case Read():
            _within("inode", request.number, 0, _NUMBER_MAX)
            _within("offset", request.offset, 0, _NUMBER_MAX)
            _within("length", request.length, 0, READ_BYTES_MAX)
        case Mutate():
            _check_numbered(request)
            _check_operation(request.operation)
        case Store():
            _check_numbered(request)
        case _:
            pass  # they carry nothing that is looked up in the store


def _within(what: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise BadRequest(f"{what} {value} is not between {least} and {most}")


def _short(*fields: bytes) -> None:
    for field in fields:
        _within("bytes of a field:", len(field), 0, REQUEST_FIELD_BYTES_MAX)


def _check_hello(hello: Hello) -> None:
    if len(hello.session) != _SESSION_BYTES:
        raise BadRequest(f"a session id has {_SESSION_BYTES} bytes")
    _within("characters of the label:", len(hello.label), 0, LABEL_CHARACTERS_MAX)


def _check_numbered(request: Mutate | Store) -> None:
    _within("request", request.request, 1, _NUMBER_MAX)
    _within("answered", request.answered, 0, _NUMBER_MAX)


def _check_operation(operation: Mutation) -> None:
    match operation:
        case MakeNode():
            _check_make(operation)
        case SetAttributes():
            _check_attributes(operation)
        case Link(number=number, parent=parent, name=name):
            _within("inode", number, 0, _NUMBER_MAX)
            _check_place(parent, name)
        case Unlink(parent=parent, name=name) | RemoveDirectory(parent=parent, name=name):
            _check_place(parent, name)
        case Rename():
            _check_place(operation.parent, operation.name)
            _check_place(operation.new_parent, operation.new_name)
        case SetXattr(number=number, name=name, value=value):
            _within("inode", number, 0, _NUMBER_MAX)
            _short(name, value)
        case RemoveXattr(number=number, name=name):
            _check_place(number, name)


def _check_place(number: int, name: bytes) -> None:
    _within("inode", number, 0, _NUMBER_MAX)
    _short(name)


def _check_make(make: MakeNode) -> None:
    _check_place(make.parent, make.name)
    _short(make.target)
    _within("mode", make.mode, 0, _MODE_MAX)
    _within("uid", make.uid, 0, _OWNER_MAX)
    _within("gid", make.gid, 0, _OWNER_MAX)
    _within("device", make.device, 0, _NUMBER_MAX)


def _check_attributes(change: SetAttributes) -> None:
    _within("inode", change.number, 0, _NUMBER_MAX)
    _within("mode", change.mode, 0, _MODE_MAX)
    _within("uid", change.uid, 0, _OWNER_MAX)
    _within("gid", change.gid, 0, _OWNER_MAX)
    _within("atime", change.atime, _TIME_LEAST, _TIME_MAX)
    _within("mtime", change.mtime, _TIME_LEAST, _TIME_MAX)


def check_store(request: Store, length: int) -> None:
    """Whether ranges and inline bytes are what a Store with a payload of `length` bytes may carry.

    Raises:
        BadRequest: they are not.
        NamespaceRefusal: EFBIG.
    """
    _within("bytes of payload:", length, 0, SEGMENT_BYTES_MAX)
    _within("ranges, inline pieces and files:", sum(map(_weight, request.files)), 0, 2 * SEGMENT_RANGES_MAX)
    _within("ranges:", sum(len(file.ranges) for file in request.files), 0, SEGMENT_RANGES_MAX)
    inline = sum(len(data) for file in request.files for _, data in file.inline)
    _within("inline bytes:", inline, 0, INLINE_BYTES_MAX)
    for file in request.files:
        _check_file(file)
    _check_ranges([(at, size) for file in request.files for _, size, at in file.ranges], length)


def _weight(file: FileData) -> int:
    return 1 + len(file.ranges) + len(file.inline)


def _check_file(file: FileData) -> None:
    _within("inode", file.number, 0, _NUMBER_MAX)
    _within("mtime", file.mtime, _TIME_LEAST, _TIME_MAX)
    _within("atime", file.atime, _TIME_LEAST, _TIME_MAX)
    pieces = [(offset, size) for offset, size, _ in file.ranges] + [(offset, len(data)) for offset, data in file.inline]
    for offset, size in pieces:
        if offset < 0 or size <= 0:
            raise BadRequest(f"{size} bytes at {offset} are no range of a file")
        if offset + size > FILE_BYTES_MAX:
            raise NamespaceRefusal(errno.EFBIG)


def _check_ranges(ranges: list[tuple[int, int]], length: int) -> None:
    """Each in the payload, and no byte of it in two: a segment's living bytes are counted by range (invariant N3)."""
    ranges.sort()
    for at, size in ranges:
        if at < 0 or at + size > length:
            raise BadRequest(f"a range of {size} bytes at {at} is not in the payload of {length}")
    for (at, size), (following, _) in pairwise(ranges):
        if at + size > following:
            raise BadRequest(f"two ranges share byte {following} of the payload")
