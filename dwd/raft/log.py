"""The log in memory: every entry that may still be needed, and how far it is written, committed and applied.

base <= applied <= committed <= last, applied <= written <= last. The entry at `base` is remembered by its term only.
What a configuration entry says is in force as long as it is in here: the log tells the membership.
"""

from collections.abc import Sequence
from typing import Final

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex, Term
from dwd.raft.configuration import Placed
from dwd.raft.membership import Membership
from dwd.raft.record import Recovery
from dwd.raft.types import Entry, Manifest

ENTRY_OVERHEAD_BYTES: Final = 32  # of an encoded entry, at most, beside its data


class RaftLog:
    """Entries behind `base`, of which those up to `written` are in the WAL."""

    def __init__(self, recovery: Recovery, membership: Membership, applied: LogIndex) -> None:
        """Begin with what the WAL held; the state store has applied the entries up to `applied`."""
        self.membership = membership
        self.offered: Manifest | None = None  # the newest snapshot that this node can give away
        self._base_index = recovery.base_index
        self._base_term = recovery.base_term
        self._entries = recovery.entries
        self.written = self.last_index
        self.committed = applied
        self.applied = applied
        invariant(self._base_index <= applied <= self.last_index, "R2", (self._base_index, applied, self.last_index))
        self.commit_to(LogIndex(min(recovery.hard_state.commit, self.last_index)))

    @property
    def base_index(self) -> LogIndex:
        """The last index whose entry is gone."""
        return self._base_index

    @property
    def last_index(self) -> LogIndex:
        """The index of the last entry."""
        return LogIndex(self._base_index + len(self._entries))

    @property
    def last_term(self) -> Term:
        """The term of the last entry."""
        return self._entries[-1].term if self._entries else self._base_term

    def term(self, index: LogIndex) -> Term | None:
        """The term of the entry at an index, or None if there is no such entry (any more)."""
        at = index - self._base_index
        if at == 0:
            return self._base_term
        return self._entries[at - 1].term if 0 < at <= len(self._entries) else None

    def slice(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """Entries [first, last], cut off when they exceed bytes_max; always one if there is one."""
        if first > last:
            return []
        found = self._entries[first - self._base_index - 1 : last - self._base_index]
        room = bytes_max
        for count, entry in enumerate(found):
            room -= len(entry.data) + ENTRY_OVERHEAD_BYTES
            if room < 0 and count > 0:
                return found[:count]
        return found

    def append(self, entries: Sequence[Entry]) -> None:
        """Add commands at the end: what a leader does."""
        invariant(not entries or entries[0].index == self.last_index + 1, "R3", "entries are consecutive")
        self._entries.extend(entries)

    def append_any(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end, among which may be configurations."""
        self.append(entries)
        self.membership.took(entries)

    def accept(self, previous_index: LogIndex, previous_term: Term, entries: Sequence[Entry]) -> LogIndex | None:
        """Take a leader's entries, replacing what conflicts: what a follower does.

        Returns the last index that is now known to equal the leader's, or None if the previous entry differs.
        """
        if self.term(previous_index) != previous_term:
            return None
        for at, entry in enumerate(entries):
            if self.term(entry.index) != entry.term:
                if entry.index <= self.last_index:
                    self._truncate(entry.index)
                self.append_any(entries[at:])
                break
        return LogIndex(previous_index + len(entries))

    def last_not_after(self, index: LogIndex, term: Term) -> tuple[LogIndex, Term]:
        """The last entry at or before `index` whose term is at most `term`: the first that can still agree."""
        at = min(index, self.last_index)
        while at > self._base_index and self._entries[at - self._base_index - 1].term > term:
            at = LogIndex(at - 1)
        return at, self.term(at) or Term(0)

    def commit_to(self, index: LogIndex) -> None:
        """Raise the commit index; it never falls."""
        if index > self.committed:
            invariant(index <= self.last_index, "R4", f"commit {index} of {self.last_index}")
            self.committed = index

    def written_to(self, entry: Entry) -> None:
        """All entries up to this one are in the WAL, unless it has been replaced since."""
        if entry.index > self.written and self.term(entry.index) == entry.term:
            self.written = entry.index

    def applied_to(self, index: LogIndex) -> None:
        """The state store has all entries up to here."""
        invariant(index <= min(self.committed, self.written), "R5", (index, self.committed, self.written))
        self.applied = max(self.applied, index)

    def unwritten(self, bytes_max: int) -> list[Entry]:
        """The next entries for the WAL."""
        return self.slice(self.written + 1, self.last_index, bytes_max)

    def unapplied(self, bytes_max: int) -> list[Entry]:
        """The next entries for the state store: committed, and in our own WAL."""
        return self.slice(self.applied + 1, min(self.committed, self.written), bytes_max)

    def restore(self, manifest: Manifest) -> None:
        """A snapshot takes the place of all that is here."""
        invariant(manifest.index > self.committed, "R16", (manifest.index, self.committed))
        self._base_index, self._base_term, self._entries = manifest.index, manifest.term, []
        self.written = self.committed = self.applied = manifest.index
        self.membership.restored(Placed(manifest.index, manifest.configuration))

    def compact(self, index: LogIndex) -> None:
        """Drop the entries up to `index` from memory."""
        if index <= self._base_index:
            return
        invariant(index <= self.applied, "R6", f"compact to {index}, applied {self.applied}")
        term = self.term(index)
        del self._entries[: index - self._base_index]
        self._base_index, self._base_term = index, term or Term(0)
        self.membership.compacted(index)

    def _truncate(self, index: LogIndex) -> None:
        invariant(index > self.committed, "R7", f"truncate at {index}, committed {self.committed}")
        del self._entries[index - self._base_index - 1 :]
        self.written = min(self.written, self.last_index)
        self.membership.truncated(index)
