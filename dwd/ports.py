"""What the shell owes the cores and services: Protocols, with what each call promises.

Calls that may block say so; services run them in worker threads. An adapter raises Fault (or the
Refusal that it names), never a bare OSError.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import attrs

from dwd.model.ids import BrickId, LogIndex, SegmentId, ShardIndex
from dwd.namespace.store import Store


@attrs.frozen
class BrickSpace:
    """Room of the file system that a brick stands on, in bytes."""

    total: int
    free: int  # for unprivileged users: the reserve of the file system itself is not ours
    device: int  # st_dev: bricks with the same device share room and fate


class Brick(Protocol):
    """A directory on one disk that holds shards."""

    @property
    def id(self) -> BrickId:
        """The identity in its superblock."""

    @property
    def uuid(self) -> bytes:
        """What tells it from every other folder that was ever given its id."""

    def probe(self) -> None:
        """See that the folder is still there, and still this brick. Changes nothing. Blocks.

        Raises:
            BrickFault: it is gone, or cannot be read.
            VolumeMismatch: another brick lies in its place.
        """

    def close(self) -> None:
        """Close the files that are kept open for reading; another read opens them anew."""

    def write_shard(self, segment: SegmentId, index: ShardIndex, image: Sequence[bytes | memoryview]) -> None:
        """Store a shard (header page, then body), durable when this returns, its name too. Blocks."""

    def read(self, segment: SegmentId, index: ShardIndex, offset: int, length: int, *, wait: bool) -> bytes | None:
        """Bytes [offset, offset+length) of a shard's body, each block verified against its checksum.

        With wait=False: None if the bytes are not in memory (never blocks on the disk).

        Raises:
            CorruptShard: a checksum, the header or the length is wrong, or it is another shard.
            ShardMissing: there is no such file.
            BrickFault: the disk failed.
        """

    def read_into(self, segment: SegmentId, index: ShardIndex, body: memoryview) -> None:
        """Fill a buffer, as long as the shard's body, with all of it, verified. Blocks. Raises as read()."""

    def verify_shard(self, segment: SegmentId, index: ShardIndex) -> None:
        """Read all of a shard and check it, header and every block. Blocks. Raises as read()."""

    def remove_shard(self, segment: SegmentId, index: ShardIndex) -> None:
        """Delete a shard; one that is not there is no error. Blocks."""

    def list_shards(self) -> Iterator[tuple[SegmentId, ShardIndex]]:
        """Every shard file here, in no order; files that are none are passed over. Blocks."""

    def space(self) -> BrickSpace:
        """Room on the device. Raises BrickFault."""


@attrs.frozen
class StoreStatistics:
    """What a DurableStore holds in memory and has done since it was opened."""

    applied_index: LogIndex
    durable_index: LogIndex
    pending_rows: int
    pending_bytes: int
    cached_rows: int
    cached_bytes: int
    file_reads: int  # rows looked for in the file: everything before it missed
    flushes: int
    flushed_rows: int


class DurableStore(Store, Protocol):
    """A Store that survives: writes become durable in whole batches, in order, with their log index.

    Changes gather in memory, where get() and range() see them at once. One thread owns the store; at a
    border between commands it calls begin_flush(), a worker thread performs write_flush() while the
    owner goes on reading and changing, and the owner calls end_flush(). The store sets no bound to
    what is pending: its owner watches pending_rows and pending_bytes, flushes, and waits.
    """

    @property
    def durable_index(self) -> LogIndex:
        """All commands up to here will be there after a power cut; the log may forget them."""

    @property
    def applied_index(self) -> LogIndex:
        """The last command whose effects are in the store (when opened: the last that survived)."""

    @property
    def pending_rows(self) -> int:
        """Rows changed since the last flush began; each costs some 300 bytes of memory beyond its own."""

    @property
    def pending_bytes(self) -> int:
        """Bytes of keys and values among them."""

    def mark_applied(self, index: LogIndex) -> None:
        """Say that every effect of the commands up to `index` has been put: a batch may end here."""

    def begin_flush(self) -> bool:
        """Set what is pending apart for write_flush(). Only right after mark_applied(). Never blocks.

        False: all that was applied is durable already, and there is no flush to write or to end.
        """

    def write_flush(self) -> None:
        """Make that batch durable, whole, with its index. Blocks: for a worker thread.

        Raises:
            StoreFailed: it is not durable. The process must end; the log has everything.
        """

    def end_flush(self) -> None:
        """Take note of a write_flush() that returned: durable_index rises. Never blocks."""

    def quick_check(self) -> list[str]:
        """Read all that is durable, and say what is wrong with it (nothing: empty). Blocks: for a worker thread."""

    def statistics(self) -> StoreStatistics:
        """An immutable snapshot."""

    def close(self) -> None:
        """Let go of the files. What is pending is dropped: the log has it. Blocks."""


class Wal(Protocol):
    """The log on disk: records are appended, made durable, and forgotten from the front."""

    @property
    def appended_sequence(self) -> int:
        """The last record that is in the file."""

    @property
    def synced_sequence(self) -> int:
        """The last record that survives a power cut."""

    def append(self, payload: bytes) -> None:
        """Add one record; it is in the file (it survives a crash of the process) when this returns."""

    def sync(self) -> None:
        """Make every record appended so far survive a power cut. Blocks. A failure ends the process."""

    def forget_before(self, position: int) -> None:
        """Files whose records all lie before the record with this sequence number may go. Blocks."""


@attrs.frozen
class MirrorPlan:
    """What is to be done about the mirrors of the metadata."""

    leave: tuple[BrickId, ...] = ()
    join: tuple[BrickId, ...] = ()
    renew: tuple[BrickId, ...] = ()  # their logs have grown long: a new snapshot is due


class Mirrors(Protocol):
    """The copies of log and state store on bricks (DESIGN D5). What fails is given up, said, and tried again later.

    To join: begin_joining(), fill(), follow(); then flush the state store, and admit().
    """

    def survey(self) -> MirrorPlan:
        """Look at every brick. Blocks."""

    def leave(self, brick: BrickId) -> None:
        """End a mirror that is not wanted there any more. Never blocks."""

    def begin_joining(self, brick: BrickId, cut: bytes) -> None:
        """Keep every record from now on for a new mirror; `cut` stands for all before. Never blocks."""

    def fill(self, brick: BrickId) -> bool:
        """Begin the new mirror's log. Blocks. False: it is given up."""

    def follow(self, brick: BrickId) -> bool:
        """Give the new mirror every record from now on. Hardly blocks. False: it is given up."""

    def admit(self, brick: BrickId) -> None:
        """Give it its snapshot, of what the state store has flushed; then it counts. Blocks."""

    def renew(self, brick: BrickId, position: int) -> None:
        """Take a new snapshot; then the mirror's log may forget what lies before this record. Blocks."""


class WallClock(Protocol):
    """The time of day."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC; it may jump, in either direction."""
