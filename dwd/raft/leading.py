"""One term of leading: proposals, changes of membership, reads, and handing over. A node that leads has one of these.

It puts messages into the node's outbox and answers into the node's list, and says when the node must stop leading.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from dwd.model.checks import invariant
from dwd.model.errors import BadRequest, NotLeader, Overloaded
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.model.units import MIB
from dwd.raft.configuration import Configuration, MemberChange, encode_configuration
from dwd.raft.elections import ELECTION_TICKS
from dwd.raft.lease import Lease, LeaseClock
from dwd.raft.log import RaftLog
from dwd.raft.progress import Progress
from dwd.raft.reads import ReadRounds
from dwd.raft.replication import APPEND_BYTES_MAX, Replication
from dwd.raft.types import (
    AppendReply,
    Entry,
    EntryKind,
    HeartbeatReply,
    Message,
    ReadAnswer,
    ReadContext,
    ReadReply,
    TimeoutNow,
)

HEARTBEAT_TICKS: Final = 1
UNAPPLIED_BYTES_MAX: Final = 64 * MIB  # refuse: what a leader took and has not seen applied


@attrs.frozen
class Place:
    """Where a leader stands: the parts of its node that it works with."""

    node: NodeId
    witness: bool
    term: Term
    log: RaftLog
    clock: LeaseClock
    outbox: list[Message]
    answers: list[ReadAnswer]


@attrs.define
class _Transfer:
    """A hand-over that is under way."""

    target: NodeId
    ticks: int = 0
    asked: bool = False


class Leadership:
    """Begins with an empty entry, which lets it commit what earlier leaders left."""

    def __init__(self, place: Place, *, excused: bool) -> None:
        """`excused`: the leader before gave up its lease for this one."""
        self._place = place
        self._log = place.log
        self._replication = Replication(place.node, place.term, place.log, place.outbox)
        self.reads = ReadRounds(place.node)
        self._lease = Lease(place.clock, excused=excused)
        self._transfer: _Transfer | None = None
        self._unapplied_bytes = 0
        self._elapsed = 0
        self._settled = False  # an entry of this term is committed
        self.resigned = False  # it is no voter any more, and that is committed
        self._add(EntryKind.NO_OP, b"")
        self._replication.broadcast()

    @property
    def progress(self) -> Mapping[NodeId, Progress]:
        """Every follower."""
        return self._replication.progress

    @property
    def snapshot_wanted(self) -> bool:
        """Whether a follower needs a snapshot that this node does not have."""
        return self._replication.snapshot_wanted

    @property
    def transferee(self) -> NodeId | None:
        """To whom it is handing over."""
        return self._transfer.target if self._transfer is not None else None

    def tick(self) -> bool:
        """Time passes. Returns whether this node may go on leading."""
        self._lease.tick(self._log.last_index)
        self._elapsed += 1
        if self._elapsed >= ELECTION_TICKS:
            self._elapsed = 0
            if not self._replication.hears_a_quorum():
                return False  # cut off from its followers, who may have another leader by now
        self._tick_transfer()
        self._replication.tick()
        if self._elapsed % HEARTBEAT_TICKS == 0:
            self._replication.send_heartbeats(self.reads.awaited)
        self.commit()
        if self._lease.wants_renewal() and self._log.committed == self._log.last_index:
            self._add(EntryKind.NO_OP, b"")
            self._replication.broadcast()
        return True

    # Proposals

    def propose(self, payloads: Sequence[bytes]) -> LogIndex:
        """Add commands to the log and return the index of the last. Raises as RaftNode.propose()."""
        self._check_open()
        sizes = [len(payload) for payload in payloads]
        size = sum(sizes)
        if self._unapplied_bytes > 0 and self._unapplied_bytes + size > UNAPPLIED_BYTES_MAX:
            raise Overloaded(f"{self._unapplied_bytes} bytes of proposals are not applied yet")
        invariant(max(sizes, default=0) <= APPEND_BYTES_MAX, "R10", ("bytes of commands", sizes))
        term, first = self._place.term, self._log.last_index + 1
        command = EntryKind.COMMAND
        self._log.append(
            [Entry(term, LogIndex(index), command, payload) for index, payload in enumerate(payloads, first)]
        )
        self._unapplied_bytes += size
        self._replication.broadcast()
        return self._log.last_index

    def propose_change(self, changes: Sequence[MemberChange]) -> LogIndex:
        """Begin a change of membership. Raises as RaftNode.propose_change()."""
        self._check_open()
        membership = self._log.membership
        if not self._settled:
            raise Overloaded("this leader is new: it has committed nothing yet")
        if membership.index > self._log.committed or membership.current.is_joint:
            raise Overloaded("another change of membership is under way")
        self._reconfigure(membership.current.changed(changes))
        return self._log.last_index

    def applied(self, size: int) -> None:
        """So many bytes of commands are not waiting any more."""
        self._unapplied_bytes = max(0, self._unapplied_bytes - size)

    def _check_open(self) -> None:
        if self._transfer is not None:
            raise NotLeader(f"node {self._place.node} is handing over to node {self._transfer.target}")
        if self._place.witness:
            raise NotLeader(f"node {self._place.node} is a witness: it leads only until a voter has its log")

    def _add(self, kind: EntryKind, data: bytes) -> None:
        self._log.append_any([Entry(self._place.term, LogIndex(self._log.last_index + 1), kind, data)])

    def _reconfigure(self, configuration: Configuration) -> None:
        membership = self._log.membership
        invariant(membership.index <= self._log.committed, "R14", "two changes of membership at once")
        self._add(EntryKind.CONFIGURATION, encode_configuration(configuration))
        self._replication.reconfigured()
        self._replication.broadcast()
        self._confirm_reads()
        if self._transfer is not None and not configuration.may_lead(self._transfer.target):
            self._transfer = None

    # Answers

    def commit(self) -> bool:
        """Raise the commit index as far as a quorum allows, and do what waited for it. Returns whether it rose."""
        if self._lease.forbids_commit or not self._replication.commit():
            return False
        self._settled = True
        self._lease.committed(self._log.committed)
        membership = self._log.membership
        if membership.index <= self._log.committed:
            if membership.current.is_joint:
                self._reconfigure(membership.current.left())
            elif not membership.current.votes(self._place.node):
                self._resign()
        return True

    def on_append_reply(self, reply: AppendReply) -> None:
        """A follower took entries, or lacks those before them."""
        if self._replication.on_append_reply(reply) and not self.commit():
            self._replication.send_rest(reply.sender)
        self._hand_over()
        self._ask_to_lead()

    def on_heartbeat_reply(self, reply: HeartbeatReply) -> None:
        """A follower lives, and knows no later term."""
        self._replication.on_heartbeat_reply(reply.sender)
        self.reads.answered(reply.sender, reply.round)
        self._confirm_reads()

    # Reads

    def ask(self, context: ReadContext) -> None:
        """Somebody wants to read."""
        self.reads.ask(context)

    def begin_reads(self) -> None:
        """Ask a quorum for all reads that have gathered; not before this leader knows what is committed."""
        if self._settled and self.reads.may_begin:
            number = self.reads.begin(self._log.committed)
            self._replication.send_heartbeats(number)
            self._confirm_reads()

    def lease_holds(self, now_ns: int) -> bool:
        """Whether reads need nobody else's word."""
        return self._lease.holds(now_ns)

    def _confirm_reads(self) -> None:
        for done in self.reads.confirmed(self._replication.quorum):
            for context in done.contexts:
                self._answer(context, done.index)

    def _answer(self, context: ReadContext, index: LogIndex) -> None:
        place = self._place
        if context.asker == place.node:
            place.answers.append(ReadAnswer(context, index))
        else:
            place.outbox.append(ReadReply(place.node, context.asker, place.term, context, index))

    # Snapshots

    def offered(self) -> None:
        """There is a newer snapshot to give away."""
        self._replication.offered()

    def report_snapshot(self, node: NodeId, *, ok: bool) -> None:
        """The shell has brought a snapshot's content to a follower, or failed to."""
        self._replication.report_snapshot(node, ok=ok)

    def report_unreachable(self, node: NodeId) -> None:
        """The shell could not send to a follower."""
        self._replication.report_unreachable(node)

    # Handing over

    def transfer(self, target: NodeId) -> None:
        """Let another voter lead. Raises as RaftNode.transfer()."""
        if not self._log.membership.current.may_lead(target) or target == self._place.node:
            raise BadRequest(f"node {target} is no other voter that can lead")
        if self.transferee != target:
            self._transfer = _Transfer(target)
            self._replication.send_rest(target)
            self._ask_to_lead()

    def _tick_transfer(self) -> None:
        if self._transfer is not None:
            self._transfer.ticks += 1
            if self._transfer.ticks >= ELECTION_TICKS:
                self._transfer = None
        self._hand_over()

    def _ask_to_lead(self) -> None:
        """Nothing is added while a transfer is under way, so its target gets there."""
        transfer = self._transfer
        if transfer is None or transfer.asked:
            return
        if self.progress[transfer.target].match == self._log.last_index:
            transfer.asked = True
            self._send_timeout_now(transfer.target)

    def _send_timeout_now(self, target: NodeId) -> None:
        # An aborted transfer may still succeed later: so the lease is given up for the whole term.
        self._lease.give_up()
        place = self._place
        place.outbox.append(TimeoutNow(place.node, target, place.term, gives_up_lease=self._settled))

    def _hand_over(self) -> None:
        """A witness leads for one purpose: that a voter with a state gets its log."""
        if self._place.witness and self._transfer is None:
            target = self._successor()
            if target is not None:
                self.transfer(target)

    def _resign(self) -> None:
        self.resigned = True
        target = self._successor()
        if target is not None:
            self._send_timeout_now(target)

    def _successor(self) -> NodeId | None:
        """A voter that can lead and has the whole log; rather one that stays."""
        current, last = self._log.membership.current, self._log.last_index
        able = [node for node, progress in self.progress.items() if progress.match == last and current.may_lead(node)]
        return min(able, key=lambda node: node not in current.voters, default=None)
