"""One member of a Raft group, as a machine: `tick`, `step` and `propose` go in, `Ready` comes out.

The shell's loop, for every turn:

    while (ready := node.ready()) is not None:
        ...do what Ready says, in its order...
        node.advance(ready)

At most one Ready is outstanding; ticks, messages and proposals may come in meanwhile and gather for the next.

Who is heard. Requests are heard from anyone, for a new member knows nobody; only members' answers count. Ids are never
given twice: whoever lost its disk joins anew, under a new one.

Durability. In a group of several voters an entry counts only when it is on stable storage: others rely on this
node's word after a power cut. So every record with entries must be synced before messages leave or advance() is
called. In a group of one nobody relies on it but this machine's own users, whom POSIX promises only what they
fsynced; a power cut takes their mounts with it. There an entry counts once it is in the file (it survives the death
of the process), and `must_sync` is False: whoever promises durability (fsync, O_SYNC, a flush of the state store)
calls Wal.sync() first. What a power cut may then take is a suffix of the log that nobody was promised. Three rules
follow for the shell: sync the WAL before the state store makes entries durable, or the store is ahead of the log;
sync before answering a durability barrier; a change of term or vote is always synced, in a group of one too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dwd.model.checks import invariant
from dwd.model.errors import NotLeader
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.model.units import MIB
from dwd.raft.configuration import Configuration, MemberChange, Placed
from dwd.raft.log import RaftLog
from dwd.raft.member import Group, Member, Role
from dwd.raft.membership import NOBODY_YET, Membership
from dwd.raft.progress import Progress
from dwd.raft.record import Recovery
from dwd.raft.replication import APPEND_BYTES_MAX
from dwd.raft.types import (
    NOBODY,
    Entry,
    HardState,
    Manifest,
    Message,
    ReadContext,
    ReadReply,
    ReadRequest,
    Ready,
)

__all__ = ["APPLY_BYTES_MAX", "WRITE_BYTES_MAX", "Group", "RaftNode", "Role"]

WRITE_BYTES_MAX: Final = 4 * MIB  # of one Ready: the rest comes with the next
APPLY_BYTES_MAX: Final = 4 * MIB  # of one Ready: the rest comes with the next
INCARNATIONS: Final = 1 << 62  # of which a node draws one at each start

invariant(APPEND_BYTES_MAX <= WRITE_BYTES_MAX, "R9", "what a message brings must fit in a record")


class RaftNode:
    """A member of a group. Not for use by several threads."""

    def __init__(self, group: Group, recovery: Recovery, applied: LogIndex, draw: Callable[[int], int]) -> None:
        """Begin as a follower with what the WAL gave back and what the state store has applied.

        `draw(n)` gives a number in [0, n) by chance. A witness, which has no store, has applied `recovery.base_index`.

        Raises:
            CorruptWal: log and state store do not belong together.
        """
        recovery.check_applied(applied)
        self._id = group.node
        self._group = group
        self._membership = Membership(group.node, _configurations(group, recovery))
        self._membership.compacted(recovery.base_index)
        self._log = RaftLog(recovery, self._membership, applied)
        self._member = Member(group, recovery.hard_state, self._log, draw)
        self._elections = self._member.elections
        self._written_promise = (self._elections.term, self._elections.vote)
        self._silent_until = LogIndex(0)  # what was counted without a sync, when there were no others, must be synced
        self._incarnation = draw(INCARNATIONS)
        self._read_number = 0
        self._reading: ReadContext | None = None  # asked since the last Ready
        self._outstanding: Ready | None = None

    @property
    def id(self) -> NodeId:
        """This node."""
        return self._id

    @property
    def role(self) -> Role:
        """What it is now."""
        return self._member.role

    @property
    def term(self) -> Term:
        """The latest term it has seen."""
        return self._elections.term

    @property
    def vote(self) -> NodeId:
        """Who has its vote in this term, or NOBODY."""
        return self._elections.vote

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this node knows, or NOBODY."""
        return self._member.leader

    @property
    def log(self) -> RaftLog:
        """The log, for reading its cursors."""
        return self._log

    @property
    def is_witness(self) -> bool:
        """Whether it keeps the log only."""
        return self._group.witness

    @property
    def configuration(self) -> Configuration:
        """The members, by the last word in its log."""
        return self._membership.current

    def configuration_at(self, index: LogIndex) -> Configuration:
        """The members as of an entry: what a snapshot's manifest says."""
        return self._membership.at(index)

    @property
    def progress(self) -> Mapping[NodeId, Progress]:
        """What a leader knows of each follower, for reading; nothing on other nodes."""
        leadership = self._member.leadership
        return leadership.progress if leadership is not None else {}

    @property
    def transferee(self) -> NodeId | None:
        """To whom this leader is handing over."""
        leadership = self._member.leadership
        return leadership.transferee if leadership is not None else None

    @property
    def snapshot_wanted(self) -> bool:
        """Whether a follower waits for a snapshot newer than the one that was offered.

        One is taken while the shell has applied exactly what `log.applied` says: between step() and the Ready that
        installs another's snapshot it has not.
        """
        leadership = self._member.leadership
        return leadership is not None and leadership.snapshot_wanted

    def tick(self, now_ns: int = 0) -> None:
        """A unit of time has passed. `now_ns` is this node's own clock (see lease.py), if there are leases."""
        self._member.tick(now_ns)

    def propose(self, payloads: Sequence[bytes]) -> LogIndex:
        """Add commands to the log and return the index of the last. They count when they come back as committed.

        Raises:
            NotLeader: another node leads or is about to, or none.
            Overloaded: too much is not yet applied.
        """
        return self._member.leading().propose(payloads)

    def propose_change(self, changes: Sequence[MemberChange]) -> LogIndex:
        """Begin a change of membership and return its first entry's index.

        It is done when a configuration that is not joint is committed; the leader sees to that by itself.

        Raises:
            NotLeader: another node leads or is about to, or none.
            Overloaded: another change is under way, or this leader is so new that it cannot know. Ask again.
            BadRequest: the changes make no sense together, or here.
            NotSafe: the group could not work afterwards.
        """
        was_alone = self._membership.alone
        index = self._member.leading().propose_change(changes)
        if was_alone:
            self._silent_until = index
        return index

    def transfer(self, target: NodeId) -> None:
        """Let another voter lead: it is brought up to date and asked to stand. Proposals are refused meanwhile.

        It ends with a new leader, or after an election time-out.

        Raises:
            NotLeader: this node does not lead.
            BadRequest: the target is no other voter with a state.
        """
        self._member.leading().transfer(target)

    def read_index(self) -> ReadContext:
        """Ask how far the log must be applied for a read to miss nothing.

        All who ask between two Readys share a context. The answer comes in Ready.reads, unless a message is lost or the
        leader changes: then never, and after an election time-out one asks again, in a new context.

        Raises:
            NotLeader: there is no leader to ask.
        """
        if self._member.leader == NOBODY:
            raise NotLeader(f"node {self._id} knows no leader")
        if self._reading is None:
            self._read_number += 1
            self._reading = ReadContext(self._id, self._incarnation, self._read_number)
        return self._reading

    def lease_read(self, now_ns: int) -> LogIndex | None:
        """How far the log must be applied for a read at this time to miss nothing; None: ask by read_index()."""
        leadership = self._member.leadership
        if leadership is None or not leadership.lease_holds(now_ns):
            return None
        return self._log.committed

    def offer_snapshot(self, manifest: Manifest) -> None:
        """This node has a snapshot that it can give away: durable, and not ahead of what counts here.

        A witness has no state to take one of: it offers what it was given, or fetched from another.
        """
        invariant(manifest.index <= self._log.applied, "R17", (manifest.index, self._log.applied))
        self._log.offered = manifest
        if self._member.leadership is not None:
            self._member.leadership.offered()

    def report_snapshot(self, node: NodeId, *, ok: bool) -> None:
        """A follower has the content that a manifest promised it, or failed to get it."""
        if self._member.leadership is not None:
            self._member.leadership.report_snapshot(node, ok=ok)

    def report_unreachable(self, node: NodeId) -> None:
        """A message to a node was lost for certain."""
        if self._member.leadership is not None:
            self._member.leadership.report_unreachable(node)

    def compact(self, index: LogIndex) -> None:
        """Drop applied entries from memory. While there are others, only what the offered snapshot stands for."""
        if not self._membership.alone:
            offered = self._log.offered
            index = min(index, offered.index if offered is not None else LogIndex(0))
        self._log.compact(index)

    def step(self, message: Message) -> None:
        """A message has arrived. It may be late, doubled, or from a node that knows less."""
        stranger = isinstance(message, ReadReply) and message.context.incarnation != self._incarnation
        if message.to == self._id and not stranger:
            self._member.step(message)

    def ready(self) -> Ready | None:
        """What to do next, or None. Follow it with advance() before asking again."""
        invariant(self._outstanding is None, "R11", "ready() before advance()")
        member, log = self._member, self._log
        leadership = member.leadership
        if self._reading is not None or (leadership is not None and leadership.reads.gathered):
            self._ask_for_reads()
        snapshot = member.following.take_restored()
        entries = log.unwritten(WRITE_BYTES_MAX)
        promise = (self._elections.term, self._elections.vote)
        promised = promise != self._written_promise or snapshot is not None
        committed = log.unapplied(APPLY_BYTES_MAX) if not self._group.witness else self._keep_committed()
        messages = self._sendable(entries) if member.messages else []
        if not (entries or promised or committed or messages or member.answers):
            return None
        hard_state: HardState | None = None
        must_sync = promised
        if entries or promised:
            before = entries[0].index - 1 if entries else log.last_index
            known = self._membership.since(LogIndex(min(before, log.committed))) if self._membership.index else ()
            hard_state = HardState(*promise, log.committed, known)
            # A configuration is a promise, too: whoever it names relies on what was counted before.
            must_sync = promised or (bool(entries) and (not self._membership.alone or self._membership.index > before))
        reads = tuple(member.answers)
        member.answers.clear()
        self._outstanding = Ready(hard_state, entries, must_sync, messages, committed, snapshot, reads)
        return self._outstanding

    def advance(self, ready: Ready) -> None:
        """The shell has done what `ready` said."""
        invariant(ready is self._outstanding, "R11", "advance() of another Ready")
        self._outstanding = None
        if ready.committed:
            self._log.applied_to(ready.committed[-1].index)
            if self._member.leadership is not None:
                self._member.leadership.applied(sum(len(entry.data) for entry in ready.committed))
        if ready.hard_state is not None:
            self._written_promise = (ready.hard_state.term, ready.hard_state.vote)
        if ready.entries:
            self._log.written_to(ready.entries[-1])
            self._member.wrote()

    # What Ready is made of

    def _ask_for_reads(self) -> None:
        member = self._member
        context, self._reading = self._reading, None
        if member.leadership is not None:
            if context is not None:
                member.leadership.ask(context)
            member.leadership.begin_reads()
        elif context is not None and member.leader != NOBODY:
            member.messages.append(ReadRequest(self._id, member.leader, member.term, context))

    def _keep_committed(self) -> list[Entry]:
        """A witness has done with an entry when it counts: there is nothing to apply it to."""
        log = self._log
        log.applied_to(LogIndex(max(log.applied, min(log.committed, log.written))))
        return []

    def _sendable(self, entries: list[Entry]) -> list[Message]:
        """A reply speaks of the whole log: it waits until the last part of the log goes with it."""
        if self._silent_until > self._log.written or (entries and entries[-1].index != self._log.last_index):
            return []
        messages = self._member.messages[:]
        self._member.messages.clear()
        return messages


def _configurations(group: Group, recovery: Recovery) -> list[Placed]:
    """Those in the log, behind the one with which the group was made if the log reaches back to it."""
    known = recovery.configurations
    if known and known[0].index <= recovery.base_index:
        return list(known)
    made = NOBODY_YET
    if group.voters is not None:
        made = Configuration(tuple(sorted(group.voters.incoming)), tuple(sorted(group.voters.outgoing)))
    return [Placed(LogIndex(0), made), *known]
