"""Which configuration is in force: the last one in the log, committed or not (docs/adr/0005-membership.md).

It changes when an entry is appended and changes back when one is truncated, so all that must still be known is kept:
the configuration at the start of the log in memory, and all behind it.
"""

from collections.abc import Iterable

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex, NodeId
from dwd.raft.configuration import Configuration, Placed, decode_configuration
from dwd.raft.quorum import Voters
from dwd.raft.types import Entry, EntryKind

NOBODY_YET = Configuration()  # of a node that has joined and was told nothing so far


class Membership:
    """The configurations in a node's log."""

    def __init__(self, node: NodeId, placed: list[Placed]) -> None:
        """Begin with those that the log holds, in its order, the first from its start or before."""
        invariant(bool(placed), "R15", "a log without a configuration")
        self._node = node
        self._placed = placed
        self._settle()

    def _settle(self) -> None:
        """Work out what is asked all the time."""
        last = self._placed[-1]
        self.index = last.index
        self.current: Configuration = last.configuration
        self.others: tuple[NodeId, ...] = tuple(sorted(self.current.members - {self._node}))
        self.alone: bool = not self.others and self.current.votes(self._node)

    @property
    def quorum(self) -> Voters:
        """Who decides now."""
        return self.current.quorum

    def at(self, index: LogIndex) -> Configuration:
        """The configuration as of an entry."""
        for placed in reversed(self._placed):
            if placed.index <= index:
                return placed.configuration
        return self._placed[0].configuration

    def since(self, index: LogIndex) -> tuple[Placed, ...]:
        """The configuration as of an entry and all behind it."""
        return tuple(self._placed[self._before(index) :])

    def took(self, entries: Iterable[Entry]) -> None:
        """Entries were appended."""
        wanted = EntryKind.CONFIGURATION
        found = [entry for entry in entries if entry.kind is wanted]
        if found:
            self._placed += [Placed(entry.index, decode_configuration(entry.data)) for entry in found]
            self._settle()

    def truncated(self, index: LogIndex) -> None:
        """The entries from `index` on are gone."""
        if self.index >= index:
            while self._placed and self._placed[-1].index >= index:
                self._placed.pop()
            invariant(bool(self._placed), "R15", f"no configuration is known before entry {index}")
            self._settle()

    def compacted(self, index: LogIndex) -> None:
        """The entries up to `index` have left memory, and are committed."""
        del self._placed[: self._before(index)]

    def restored(self, placed: Placed) -> None:
        """A snapshot took the place of the log."""
        self._placed = [placed]
        self._settle()

    def _before(self, index: LogIndex) -> int:
        """Where the configuration as of an entry stands."""
        at = len(self._placed) - 1
        while at > 0 and self._placed[at].index > index:
            at -= 1
        return at
