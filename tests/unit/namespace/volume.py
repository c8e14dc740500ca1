"""A volume in memory for tests: commands in, outcomes out, and a survey whenever one asks."""

import errno
import stat

from dwd.model.ids import ROOT, BrickId, InodeNumber, LogIndex, RequestNumber, SegmentId, SessionId
from dwd.model.inode import Inode
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.namespace.apply import apply
from dwd.namespace.commands import Command, FileData, MakeNode, MakeVolume, Operation, StoreData
from dwd.namespace.outcomes import Done, Outcome, Refused
from dwd.namespace.queries import extents_within, lookup
from dwd.namespace.state import State
from dwd.namespace.store_memory import MemoryStore
from dwd.namespace.survey import Survey, survey

SEED = 7
NONE, MIRROR, RS = Protection(1, 0), Protection(1, 1), Protection(4, 2)
STEP_NS = 1000
FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


class Volume:
    """A state over a MemoryStore that was made by the first command, and the log that made it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.state = State(self.store)
        self.log: list[Command] = []
        self.written: dict[SegmentId, bytes] = {}
        self.do(MakeVolume(SEED, 0, 0, 0o755))

    @property
    def now(self) -> int:
        """The time of the last command."""
        return len(self.log) * STEP_NS

    def outcome(self, operation: Operation, session: bytes = b"", request: int = 0, answered: int = 0) -> Outcome:
        """Log a command and apply it."""
        time = self.now + STEP_NS
        command = Command(time, operation, SessionId(session), RequestNumber(request), RequestNumber(answered))
        self.log.append(command)
        return apply(self.state, LogIndex(len(self.log)), command)

    def do(self, operation: Operation) -> Done:
        """Apply what must succeed."""
        outcome = self.outcome(operation)
        assert isinstance(outcome, Done), errno.errorcode[outcome.number]
        return outcome

    def refused(self, operation: Operation) -> int:
        """Apply what must be refused, and change nothing by it; says the errno."""
        before = self.rows()
        outcome = self.outcome(operation)
        assert isinstance(outcome, Refused), outcome
        assert self.rows() == before
        return outcome.number

    def rows(self) -> dict[bytes, bytes]:
        """All that is stored."""
        return dict(self.store.range(b"", b"\xff"))

    def make(self, name: bytes, mode: int = FILE, parent: InodeNumber = ROOT, target: bytes = b"") -> Inode:
        """Make a node."""
        if stat.S_ISLNK(mode):
            target = target or b"target"
        return self.do(MakeNode(parent, name, self.next_number, mode, 1000, 1000, 0, target)).inodes[0]

    @property
    def next_number(self) -> InodeNumber:
        """The number that the daemon would choose."""
        return InodeNumber(self.state.volume.next_number)

    def find(self, name: bytes, parent: InodeNumber = ROOT) -> Inode | None:
        """The inode under a name."""
        return lookup(self.state, parent, name)

    def inode(self, number: InodeNumber) -> Inode:
        """The inode as it is now."""
        return self.state.inode(number)

    def segment(self, payload: bytes, protection: Protection = NONE, wanted: Protection | None = None) -> Segment:
        """A segment as the daemon has written it, its bytes kept aside."""
        number = SegmentId((1 << 40) + len(self.written) + 1)
        self.written[number] = payload
        bricks = tuple(BrickId(i + 1) for i in range(protection.width))
        return Segment(LogIndex(0), number, protection, len(payload), 0, bricks, bytes(32), wanted)

    def write(self, number: InodeNumber, offset: int, data: bytes, *, inline: bool = False) -> Done:
        """Store bytes of one file."""
        if inline:
            return self.do(StoreData(None, (FileData(number, (), ((offset, data),)),)))
        return self.do(StoreData(self.segment(data), (FileData(number, ((offset, len(data), 0),)),)))

    def store_whole(self, number: InodeNumber, segment: Segment, offset: int = 0) -> None:
        """Store all of a segment in one file."""
        self.do(StoreData(segment, (FileData(number, ((offset, segment.length, 0),)),)))

    def read(self, number: InodeNumber, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes that a reader would see."""
        size = self.inode(number).size
        end = size if length is None else min(size, offset + length)
        content = bytearray(max(0, end - offset))
        for start, extent in extents_within(self.state, number, offset, end):
            raw = extent.data if extent.inline else self.written[extent.segment][extent.at : extent.at + extent.length]
            assert len(raw) == extent.length
            content[start - offset : start - offset + extent.length] = raw
        return bytes(content)

    def survey(self) -> Survey:
        """Walk everything."""
        return survey(self.state, lambda _: None)

    def check(self) -> None:
        """Whether a survey finds nothing."""
        assert self.survey().defects == []
