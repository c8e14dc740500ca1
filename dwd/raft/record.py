"""What a WAL record says (a hard state, entries, a snapshot), and the log that a sequence of records amounts to.

Every record has the whole hard state, so the front of the WAL can go without losing it.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from dwd.model.errors import CorruptWal
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import Placed, decode_configuration
from dwd.raft.types import Entry, EntryKind, HardState, Manifest

_MARK_EVERY: Final = 64  # records: forgetting works by whole files, so a coarse map is enough


class _Record(msgspec.Struct, frozen=True, array_like=True):
    hard_state: HardState
    entries: list[Entry]
    snapshot: Manifest | None = None  # it takes the place of the log before; the entries follow it


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)


def encode_record(hard_state: HardState, entries: list[Entry], snapshot: Manifest | None = None) -> bytes:
    """The payload of a WAL record; as version 1 wrote it, where there is nothing to say that version 1 had not."""
    if snapshot is None and not hard_state.configurations:
        return _encoder.encode(((hard_state.term, hard_state.vote, hard_state.commit), entries))
    return _encoder.encode(_Record(hard_state, entries, snapshot))


class RecordPositions:
    """Which WAL record holds which index: what may be forgotten when the state store has become durable."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, LogIndex]] = deque()
        self._last_marked = -_MARK_EVERY

    def note(self, sequence: int, entries: Sequence[Entry], snapshot: Manifest | None = None) -> None:
        """Record `sequence` holds these entries, and perhaps a snapshot before them."""
        if snapshot is not None:
            self._marks.clear()
            self._marks.append((sequence, snapshot.index))
            self._last_marked = sequence
            return
        if not entries:
            return
        while self._marks and self._marks[-1][1] >= entries[0].index:
            self._marks.pop()
        if sequence - self._last_marked >= _MARK_EVERY:
            self._marks.append((sequence, entries[-1].index))
            self._last_marked = sequence

    def needed_from(self, durable: LogIndex) -> int:
        """The first record that must stay when the entries up to `durable` are in the state store for good.

        That record still holds an entry at or before `durable`: its term is asked for after a restart.
        """
        while len(self._marks) > 1 and self._marks[1][1] <= durable:
            self._marks.popleft()
        return self._marks[0][0] if self._marks and self._marks[0][1] <= durable else 0


class Recovery:
    """Folds the records of a WAL, oldest first, into a log and a hard state.

    If there is a `snapshot` and the state store has not applied so much, the node died while it installed it: its
    content is on the disk, and is installed before anything else.
    """

    def __init__(self, drop_to: LogIndex) -> None:
        """Entries up to `drop_to` are not kept in memory: the state store has them and no follower asks for them."""
        self._drop_to = drop_to
        self.hard_state = HardState(Term(0), NodeId(0), LogIndex(0))
        self.base_index = LogIndex(0)
        self.base_term = Term(0)
        self.entries: list[Entry] = []
        self.configurations: list[Placed] = []
        self.snapshot: Manifest | None = None
        self.positions = RecordPositions()
        self._empty = True

    def add(self, sequence: int, payload: bytes) -> None:
        """Take the next record.

        Raises:
            CorruptWal: it is no record of ours, or entries are missing before its own.
        """
        try:
            record = _decoder.decode(payload)
        except msgspec.DecodeError as error:
            raise CorruptWal(f"record {sequence} of the log cannot be decoded: {error}") from error
        self.hard_state = record.hard_state
        if record.snapshot is not None:
            self._begin_behind(record.snapshot)
        self._place(record.hard_state.configurations, record.entries)
        for entry in record.entries:
            self._take(sequence, entry)
        self.positions.note(sequence, record.entries, record.snapshot)

    def check_applied(self, applied: LogIndex) -> None:
        """Compare the log with the state store.

        Raises:
            CorruptWal: the log ends before what the store has applied, or begins behind it.
        """
        last = self.base_index + len(self.entries)
        if not self.base_index <= applied <= last:
            raise CorruptWal(
                f"the log holds entries {self.base_index + 1} to {last}, but the state store has applied {applied}: "
                "one of the two is not from this volume's last run; restore both from the same backup"
            )

    def _begin_behind(self, snapshot: Manifest) -> None:
        self.base_index, self.base_term, self.entries = snapshot.index, snapshot.term, []
        self.configurations = [Placed(snapshot.index, snapshot.configuration)]
        self.snapshot = snapshot
        self._empty = False

    def _place(self, known: Sequence[Placed], entries: Sequence[Entry]) -> None:
        """Take the configurations before these entries that no record that is left has brought."""
        first = entries[0].index if entries else None
        while first is not None and self.configurations and self.configurations[-1].index >= first:
            self.configurations.pop()
        for placed in known:
            newest = self.configurations[-1].index if self.configurations else -1
            if placed.index > newest and (first is None or placed.index < first):
                self.configurations.append(placed)

    def _take(self, sequence: int, entry: Entry) -> None:
        at = entry.index - self.base_index - 1
        if at > len(self.entries) and not self._empty:
            raise CorruptWal(f"record {sequence} of the log: entries before {entry.index} are missing")
        if entry.kind is EntryKind.CONFIGURATION:
            self.configurations.append(Placed(entry.index, decode_configuration(entry.data)))
        if (self._empty and entry.index > 1) or entry.index <= max(self.base_index, self._drop_to):
            # What stands before this entry was forgotten or is not wanted: the state store has it.
            self.base_index, self.base_term, self.entries = entry.index, entry.term, []
        else:
            del self.entries[at:]
            self.entries.append(entry)
        self._empty = False
