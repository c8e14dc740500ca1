"""The rules of consensus, seen from outside: after every step of a node, and over the whole cluster.

Names are those of etcd's specification. Nothing here trusts a node's own account of what is durable: that is kept from
what was synced to its disk.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from dwd.model.ids import NodeId
from dwd.raft.configuration import Configuration
from dwd.raft.log import RaftLog
from dwd.raft.node import RaftNode, Role
from dwd.raft.types import AppendReply, Entry, EntryKind, HardState, Message, VoteReply, VoteRequest
from tests.simulation.history import History, Violation
from tests.simulation.registers import Command, Outcome


class DurableLog:
    """What a power cut would leave of a node's log, by term; and its term and vote."""

    def __init__(self) -> None:
        self.term = 0
        self.vote = 0
        self._base = 0
        self._terms: list[int] = []

    def replace(self, base: int, entries: Sequence[Entry], hard_state: HardState) -> None:
        """Begin with what was read from the disk."""
        self._base = base
        self._terms = [entry.term for entry in entries]
        self.term, self.vote = hard_state.term, hard_state.vote

    def write(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        """A record was made durable."""
        self.term, self.vote = hard_state.term, hard_state.vote
        if entries:
            del self._terms[entries[0].index - self._base - 1 :]
            self._terms += [entry.term for entry in entries]

    def install(self, index: int) -> None:
        """A snapshot stands for everything up to its index; what follows is not to be relied on."""
        self._base, self._terms = index, []

    def holds(self, index: int, term: int) -> bool:
        """Whether it has this entry, and so all before it."""
        at = index - self._base - 1
        return at < 0 or (at < len(self._terms) and self._terms[at] == term)


class Judged(Protocol):
    """What a node shows of itself."""

    id: int

    @property
    def node(self) -> RaftNode:
        """The core."""

    @property
    def durable(self) -> DurableLog:
        """What a power cut would leave."""


@attrs.define
class _Seen:
    """What a node was at last; its process may have ended since."""

    term: int = 0
    committed: int = 0
    applied: int = 0
    led_in: int = 0  # the last term in which it was seen to lead
    configuration: Configuration | None = None
    promised: dict[int, int | None] = attrs.field(factory=dict)  # index and term of what its next replies speak of


class Checkers:
    """Watches every node of one cluster."""

    def __init__(self, history: History, machines: Mapping[int, Judged]) -> None:
        self.history = history
        self.leaders: dict[int, int] = {}
        self.applied: list[Entry] = []
        self.configurations: list[int] = []  # indices of applied ones
        self._digests: list[int] = [0]
        self._machines = machines
        self._seen: dict[int, _Seen] = {}
        self._votes: dict[tuple[int, int], int] = {}
        self._lineage: dict[tuple[int, int], tuple[int | None, EntryKind, bytes]] = {}
        self._committed: tuple[int, int] = (0, 0)
        self._committed_by_term: dict[int, tuple[int, int]] = {}

    def started(self, machine: Judged) -> None:
        """A process begins: only its term must not have fallen."""
        self._require(machine.durable.term <= machine.node.term, "MonotoneTerm", machine)
        self._seen[machine.id] = _Seen(machine.node.term)

    def stepped(self, machine: Judged) -> None:
        """A node has taken one input."""
        node = machine.node
        log = node.log
        seen = self._seen[machine.id]
        if node.term != seen.term:
            self._require(node.term > seen.term, "MonotoneTerm", machine)
            seen.term = node.term
        if node.role is Role.LEADER and self.leaders.get(node.term) != machine.id:
            self._elected(machine)
        if log.committed != seen.committed:
            self._require(log.committed > seen.committed, "MonotoneCommit", machine)
            seen.committed = log.committed
            self._commit(machine)
        if log.applied != seen.applied:
            self._require(log.applied > seen.applied, "MonotoneApplied", machine)
            seen.applied = log.applied
        if node.configuration is not seen.configuration:
            self._reconfigured(machine, seen)
        if node.role is Role.LEADER:
            seen.led_in = node.term
        self._require(log.base_index <= log.applied <= log.committed <= log.last_index, "CursorOrder", machine)

    def writes(self, machine: Judged, entries: Sequence[Entry]) -> None:
        """A node hands entries to its disk: an entry's index and term name it, and all before it."""
        log = machine.node.log
        before = log.term(entries[0].index - 1) if entries else None  # type: ignore[arg-type]
        for entry in entries:
            name, what = (entry.index, entry.term), (before, entry.kind, entry.data)
            known = self._lineage.setdefault(name, what)
            if known != what and not (None in (known[0], before) and known[1:] == what[1:]):
                raise Violation(f"LogMatching: node {machine.id} has {what} at {name}, another had {known}")
            before = entry.term

    def prepared(self, machine: Judged, messages: Sequence[Message]) -> None:
        """A node has made messages that wait for its disk; meanwhile its log in memory may become another."""
        term = machine.node.log.term
        replies = (message for message in messages if isinstance(message, AppendReply) and message.accepted)
        self._seen[machine.id].promised = {reply.index: term(reply.index) for reply in replies}

    def sends(self, machine: Judged, messages: Sequence[Message]) -> None:
        """Messages leave: none may tell of a term, a vote or entries that a power cut would take back."""
        durable = machine.durable
        for message in messages:
            match message:
                case VoteRequest(pre=False):
                    kept = (durable.term, durable.vote) == (message.term, machine.id) or durable.term > message.term
                    self._vote(machine.id, message.term, machine.id)
                case VoteReply(pre=False, granted=True):
                    kept = (durable.term, durable.vote) == (message.term, message.to) or durable.term > message.term
                    self._vote(machine.id, message.term, message.to)
                case AppendReply(accepted=True):
                    kept = durable.term >= message.term and self._has(machine, message.index)
                case VoteRequest() | VoteReply():
                    kept = True
                case _:
                    kept = durable.term >= message.term
            if not kept:
                raise Violation(f"DurableBeforeSent: node {machine.id} says {message}, term {durable.term}")

    @property
    def committed(self) -> int:
        """What some leader has committed: no read that begins now may miss it."""
        return self._committed[0]

    @staticmethod
    def reads(machine: Judged, index: int, least: int) -> None:
        """A node may serve a read when it has applied up to `index`; when the read began, `least` was committed."""
        if index < least:
            raise Violation(f"StaleRead: node {machine.id} would serve a read at {index}, when {least} was committed")

    def applies(self, entry: Entry, digest: int, command: Command | None, outcome: Outcome | None) -> None:
        """An entry reached a state machine: the same entry at every node, and the same state after it."""
        index = entry.index
        if index > self._committed[0]:
            raise Violation(f"StateMachineSafety: {entry} applied, but no leader has committed it")
        if index > len(self.applied):
            self.applied.append(entry)
            self._digests.append(digest)
            if entry.kind is EntryKind.CONFIGURATION:
                self.configurations.append(index)
            if command is not None:
                self.history.execute(index, command, outcome)
        elif self.applied[index - 1] != entry:
            raise Violation(f"StateMachineSafety: {entry} applied, but elsewhere {self.applied[index - 1]}")
        self.check_digest(index, digest)

    def check_digest(self, index: int, digest: int) -> None:
        """The state at an index is the same everywhere, however it was reached."""
        if self._digests[index] != digest:
            raise Violation(f"StateHash: two states at index {index}")

    @property
    def last_digest(self) -> int:
        """The state after everything that was applied anywhere."""
        return self._digests[-1]

    def _elected(self, machine: Judged) -> None:
        term, log = machine.node.term, machine.node.log
        other = self.leaders.setdefault(term, machine.id)
        if other != machine.id:
            raise Violation(f"ElectionSafety: nodes {other} and {machine.id} lead in term {term}")
        earlier = [at for before, at in self._committed_by_term.items() if before < term]
        index, entry_term = max(earlier, default=(0, 0))
        if index > log.base_index and log.term(index) != entry_term:  # type: ignore[arg-type]
            raise Violation(f"LeaderCompleteness: node {machine.id} leads in {term} without ({index}, {entry_term})")

    def _reconfigured(self, machine: Judged, seen: _Seen) -> None:
        """A leader begins a change, or leaves a joint configuration, only when the one before is committed."""
        node = machine.node
        leads = node.role is Role.LEADER and node.term == seen.led_in
        if leads and node.configuration_at(node.log.committed) != seen.configuration:
            raise Violation(f"OneChangeAtATime: node {machine.id} goes on to {node.configuration}")
        seen.configuration = node.configuration

    def _commit(self, machine: Judged) -> None:
        """A leader's commit must be on stable storage of a quorum; anyone else's, some leader's."""
        node = machine.node
        index = node.log.committed
        if index <= self._committed[0]:
            return
        term = node.log.term(index)
        assert term is not None
        # One that commits its own removal leads no more.
        if self.leaders.get(node.term) != machine.id:
            raise Violation(f"QuorumLog: node {machine.id} takes {index} for committed, no leader has committed it")
        voters = node.configuration
        for half in (voters.voters, voters.outgoing):
            held = sum(self._holds(voter, index, term) for voter in half)
            if half and held <= len(half) // 2:
                raise Violation(f"CommittedIsDurable: ({index}, {term}) is on {held} disks of {sorted(half)}")
        self._committed = (index, term)
        self._committed_by_term[node.term] = (index, term)

    def _holds(self, voter: NodeId, index: int, term: int) -> bool:
        machine = self._machines.get(voter)
        return machine is not None and machine.durable.holds(index, term)

    def _has(self, machine: Judged, index: int) -> bool:
        term = self._seen[machine.id].promised[index]
        return term is None or machine.durable.holds(index, term)

    def _vote(self, number: int, term: int, vote: int) -> None:
        if self._votes.setdefault((number, term), vote) != vote:
            raise Violation(f"OneVote: node {number} votes for {self._votes[number, term]} and {vote} in term {term}")

    @staticmethod
    def _require(holds: bool, name: str, machine: Judged) -> None:
        if not holds:
            log: RaftLog = machine.node.log
            cursors = (log.base_index, log.applied, log.committed, log.written, log.last_index)
            raise Violation(f"{name}: node {machine.id} in term {machine.node.term}, log {cursors}")
