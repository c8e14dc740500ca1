"""What a WAL record says (a hard state and entries), and the log that a sequence of records amounts to.

Every record has the whole hard state, so the front of the WAL can go without losing it.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from dwd.model.errors import CorruptWal
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.types import Entry, HardState

_MARK_EVERY: Final = 64  # records: forgetting works by whole files, so a coarse map is enough


class _Record(msgspec.Struct, frozen=True, array_like=True):
    hard_state: HardState
    entries: list[Entry]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Record)


def encode_record(hard_state: HardState, entries: list[Entry]) -> bytes:
    """The payload of a WAL record."""
    return _encoder.encode(_Record(hard_state, entries))


class RecordPositions:
    """Which WAL record holds which index: what may be forgotten when the state store has become durable."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, LogIndex]] = deque()
        self._last_marked = -_MARK_EVERY

    def note(self, sequence: int, entries: Sequence[Entry]) -> None:
        """Record `sequence` holds these entries."""
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
    """Folds the records of a WAL, oldest first, into a log and a hard state."""

    def __init__(self, drop_to: LogIndex) -> None:
        """Entries up to `drop_to` are not kept in memory: the state store has them and no follower asks for them."""
        self._drop_to = drop_to
        self.hard_state = HardState(Term(0), NodeId(0), LogIndex(0))
        self.base_index = LogIndex(0)
        self.base_term = Term(0)
        self.entries: list[Entry] = []
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
        for entry in record.entries:
            self._take(sequence, entry)
        self.positions.note(sequence, record.entries)

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

    def _take(self, sequence: int, entry: Entry) -> None:
        at = entry.index - self.base_index - 1
        if at > len(self.entries) and not self._empty:
            raise CorruptWal(f"record {sequence} of the log: entries before {entry.index} are missing")
        if (self._empty and entry.index > 1) or entry.index <= max(self.base_index, self._drop_to):
            # What stands before this entry was forgotten or is not wanted: the state store has it.
            self.base_index, self.base_term, self.entries = entry.index, entry.term, []
        else:
            del self.entries[at:]
            self.entries.append(entry)
        self._empty = False
