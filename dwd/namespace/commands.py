"""What the log says: commands, with everything chosen that apply() must not choose (D3).

A command is logged and replayed; a request (dwd.wire.messages) is what a client asks. The tags and
the order of fields are a format: add at the end, never change (docs/FORMATS.md).
"""

from typing import TypeAlias

import msgspec

from dwd.model.ids import BrickId, InodeNumber, LogIndex, NodeId, RequestNumber, SegmentId, SessionId
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.model.topology import Standing
from dwd.namespace.records import ConversionState


class MakeNode(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Create a file, directory, link or special file under a free name."""

    parent: InodeNumber
    name: bytes
    number: InodeNumber
    mode: int
    uid: int
    gid: int
    device: int = 0
    target: bytes = b""


class Link(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Give a file another name."""

    number: InodeNumber
    parent: InodeNumber
    name: bytes


class Unlink(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Remove the name of anything but a directory."""

    parent: InodeNumber
    name: bytes


class RemoveDirectory(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Remove an empty directory."""

    parent: InodeNumber
    name: bytes


class Rename(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Move a name; `exchange` swaps two, `replace` says whether the target may exist."""

    parent: InodeNumber
    name: bytes
    new_parent: InodeNumber
    new_name: bytes
    replace: bool = True
    exchange: bool = False


class SetAttributes(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Change what is not None. `privileged`: the caller's writes keep setuid and setgid."""

    number: InodeNumber
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None
    privileged: bool = False


class SetXattr(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Set an extended attribute; `create` and `replace` as XATTR_CREATE and XATTR_REPLACE."""

    number: InodeNumber
    name: bytes
    value: bytes
    create: bool = False
    replace: bool = False


class RemoveXattr(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Remove an extended attribute."""

    number: InodeNumber
    name: bytes


class FileData(msgspec.Struct, frozen=True, array_like=True):
    """What one file gains in a StoreData: bytes in the segment, bytes right here, and late attributes."""

    number: InodeNumber
    ranges: tuple[tuple[int, int, int], ...] = ()  # (file offset, length, offset in the segment)
    inline: tuple[tuple[int, bytes], ...] = ()  # (file offset, bytes)
    mtime: int | None = None
    atime: int | None = None


class StoreData(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """File bytes that are durable on bricks, or that ride along inline (D2). Files that are gone are passed over."""

    segment: Segment | None
    files: tuple[FileData, ...]


class Relocation(msgspec.Struct, frozen=True, array_like=True):
    """An extent whose bytes were copied to a new place; void if it changed since `changed`."""

    number: InodeNumber
    offset: int
    length: int
    changed: int  # of the extent when it was read
    at: int  # in the new segment


class Relocate(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Point extents at a segment that the compactor or the inline mover has written."""

    segment: Segment
    moves: tuple[Relocation, ...]


class Reap(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Delete inodes that have no name and that nobody holds, a bounded number of extents at a time."""

    numbers: tuple[InodeNumber, ...]


class ForgetSegments(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Drop the records of dead segments whose shards are removed."""

    segments: tuple[SegmentId, ...]


class OpenSession(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """A mount appears; its orphans and outcomes are kept until CloseSession."""

    session: SessionId
    label: str


class CloseSession(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """A mount is gone for good."""

    session: SessionId


class OpenEpoch(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """A daemon starts: the outcome's value is an epoch that no other start has."""


class MakeVolume(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """The first command of a volume: its root directory and the seed of its name hashes."""

    seed: int
    uid: int
    gid: int
    mode: int


class SetProtection(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """Hand a protection down to one file or directory; void for one with a policy of its own. No time changes."""

    number: InodeNumber
    protection: Protection | None  # None: the volume's
    changed: LogIndex = LogIndex(0)  # void if it changed since: it may be elsewhere by now. 0: whatever it is


class SetPolicy(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """Set a protection on a directory or file itself; None takes its policy away, and it has its parent's again."""

    number: InodeNumber
    protection: Protection | None


class Rehouse(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """Shards of a segment are on other bricks now; refused when its bricks are no longer `old`."""

    segment: SegmentId
    old: tuple[BrickId, ...]
    new: tuple[BrickId, ...]


class PutBrick(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Register a brick, or say something else of it; one that is removed stays so."""

    id: BrickId
    uuid: bytes
    node: NodeId
    weight: float
    standing: Standing
    domain: str
    note: str


class PutConversion(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """Begin a conversion, or say something else of it."""

    number: InodeNumber
    protection: Protection | None
    previous: Protection | None
    state: ConversionState


class DropConversion(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """A conversion is done, or given up; one that is not there is no error."""

    number: InodeNumber


class NoteScrub(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """How far the scrub has come."""

    started: int  # ns since 1970
    cursor: SegmentId
    finished: int  # ns since 1970; 0: it is under way
    segments: int
    bytes: int
    damaged: int


Operation: TypeAlias = (
    MakeNode
    | Link
    | Unlink
    | RemoveDirectory
    | Rename
    | SetAttributes
    | SetXattr
    | RemoveXattr
    | StoreData
    | Relocate
    | Reap
    | ForgetSegments
    | OpenSession
    | CloseSession
    | OpenEpoch
    | MakeVolume
    | SetProtection
    | SetPolicy
    | Rehouse
    | PutBrick
    | PutConversion
    | DropConversion
    | NoteScrub
)


class Command(msgspec.Struct, frozen=True, array_like=True):
    """An operation with its time, and the request that it answers (session b"" for the daemon's own)."""

    time: int  # ns since 1970, chosen by the leader; never goes back within a log
    operation: Operation
    session: SessionId = SessionId(b"")
    request: RequestNumber = RequestNumber(0)
    answered: RequestNumber = RequestNumber(0)  # the session has seen every outcome up to here


encode_command = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
