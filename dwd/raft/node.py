"""One member of a Raft group, as a machine: `tick`, `step` and `propose` go in, `Ready` comes out.

The shell's loop, for every turn:

    while (ready := node.ready()) is not None:
        ...do what Ready says, in its order...
        node.advance(ready)

At most one Ready is outstanding; ticks, messages and proposals may come in meanwhile and gather for the next.

Durability. In a group of several voters an entry counts only when it is on stable storage: others rely on this
node's word after a power cut. So every record with entries must be synced before messages leave or advance() is
called. In a group of one nobody relies on it but this machine's own users, whom POSIX promises only what they
fsynced; a power cut takes their mounts with it. There an entry counts once it is in the file (it survives the death
of the process), and `must_sync` is False: whoever promises durability (fsync, O_SYNC, a flush of the state store)
calls Wal.sync() first. What a power cut may then take is a suffix of the log that nobody was promised. Three rules
follow for the shell: sync the WAL before the state store makes entries durable, or the store is ahead of the log;
sync before answering a durability barrier; a change of term or vote is always synced, in a group of one too.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

import attrs

from dwd.model.checks import invariant
from dwd.model.errors import NotLeader, Overloaded
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.model.units import MIB
from dwd.raft.log import RaftLog
from dwd.raft.quorum import Outcome, Voters
from dwd.raft.record import Recovery
from dwd.raft.replication import APPEND_BYTES_MAX, Replication
from dwd.raft.types import (
    NOBODY,
    Append,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Message,
    Ready,
    VoteReply,
    VoteRequest,
)

ELECTION_TICKS: Final = 10  # and up to as many more by chance; also how long a leader is trusted
HEARTBEAT_TICKS: Final = 1
WRITE_BYTES_MAX: Final = 4 * MIB  # of one Ready: the rest comes with the next
APPLY_BYTES_MAX: Final = 4 * MIB  # of one Ready: the rest comes with the next
UNAPPLIED_BYTES_MAX: Final = 64 * MIB  # refuse: what a leader took and has not seen applied

invariant(APPEND_BYTES_MAX <= WRITE_BYTES_MAX, "R9", "what a message brings must fit in a record")


class Role(Enum):
    """What a node is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"  # asks whether it could win, and changes nobody's term by asking
    CANDIDATE = "candidate"
    LEADER = "leader"


@attrs.frozen
class Group:
    """Who this node is, and with whom."""

    node: NodeId
    voters: Voters


class RaftNode:
    """A member of a group. Not for use by several threads."""

    def __init__(self, group: Group, recovery: Recovery, applied: LogIndex, draw: Callable[[int], int]) -> None:
        """Begin as a follower with what the WAL gave back and what the state store has applied.

        `draw(n)` gives a number in [0, n) by chance.

        Raises:
            CorruptWal: log and state store do not belong together.
        """
        recovery.check_applied(applied)
        self._id = group.node
        self._voters = group.voters
        self._others = sorted(group.voters.everyone - {group.node})
        self._alone = group.voters.everyone == {group.node}
        self._draw = draw
        self._log = RaftLog(recovery.base_index, recovery.base_term, recovery.entries, applied)
        self._log.commit_to(LogIndex(min(recovery.hard_state.commit, self._log.last_index)))
        self._term = recovery.hard_state.term
        self._vote = recovery.hard_state.vote
        self._written_promise = (self._term, self._vote)
        self._role = Role.FOLLOWER
        self._leader = NOBODY
        self._elapsed = 0
        self._timeout = ELECTION_TICKS + draw(ELECTION_TICKS)
        self._votes: dict[NodeId, bool] = {}
        self._replication: Replication | None = None  # of a leader
        self._unapplied_bytes = 0
        self._messages: list[Message] = []
        self._outstanding: Ready | None = None

    @property
    def id(self) -> NodeId:
        """This node."""
        return self._id

    @property
    def role(self) -> Role:
        """What it is now."""
        return self._role

    @property
    def term(self) -> Term:
        """The latest term it has seen."""
        return self._term

    @property
    def leader(self) -> NodeId:
        """Who leads, as far as this node knows, or NOBODY."""
        return self._leader

    @property
    def log(self) -> RaftLog:
        """The log, for reading its cursors."""
        return self._log

    def tick(self) -> None:
        """A unit of time has passed."""
        self._elapsed += 1
        if self._replication is not None:
            self._tick_leader(self._replication)
        elif self._alone or self._elapsed >= self._timeout:
            self._campaign()

    def propose(self, payloads: Sequence[bytes]) -> LogIndex:
        """Add commands to the log and return the index of the last. They count when they come back as committed.

        Raises:
            NotLeader: another node leads, or none.
            Overloaded: too much is not yet applied.
        """
        if self._replication is None:
            raise NotLeader(f"node {self._id} does not lead; node {self._leader} does, as far as it knows")
        sizes = [len(payload) for payload in payloads]
        size = sum(sizes)
        if self._unapplied_bytes > 0 and self._unapplied_bytes + size > UNAPPLIED_BYTES_MAX:
            raise Overloaded(f"{self._unapplied_bytes} bytes of proposals are not applied yet")
        invariant(max(sizes, default=0) <= APPEND_BYTES_MAX, "R10", ("bytes of commands", sizes))
        term, first = self._term, self._log.last_index + 1
        command = EntryKind.COMMAND
        self._log.append(
            [Entry(term, LogIndex(index), command, payload) for index, payload in enumerate(payloads, first)]
        )
        self._unapplied_bytes += size
        self._replication.broadcast()
        return self._log.last_index

    def step(self, message: Message) -> None:
        """A message has arrived. It may be late, doubled, or from a node that knows less."""
        if message.sender not in self._voters.everyone or message.to != self._id:
            return
        if message.term > self._term:
            if self._ignores_for_its_leader(message):
                return
            if not _is_hypothetical(message):
                leads = isinstance(message, Append | Heartbeat)
                self._become_follower(message.term, message.sender if leads else NOBODY)
        elif message.term < self._term:
            self._answer_the_past(message)
            return
        self._dispatch(message)

    def ready(self) -> Ready | None:
        """What to do next, or None. Follow it with advance() before asking again."""
        invariant(self._outstanding is None, "R11", "ready() before advance()")
        entries = self._log.unwritten(WRITE_BYTES_MAX)
        promise = (self._term, self._vote)
        promised = promise != self._written_promise
        committed = self._log.unapplied(APPLY_BYTES_MAX)
        # A reply speaks of the whole log: it waits until the last part of the log goes with it.
        messages: list[Message] = []
        if not entries or entries[-1].index == self._log.last_index:
            messages = self._messages[:]
            self._messages.clear()
        if not (entries or promised or committed or messages):
            return None
        hard_state = HardState(self._term, self._vote, self._log.committed) if entries or promised else None
        must_sync = promised or (bool(entries) and not self._alone)
        self._outstanding = Ready(hard_state, entries, must_sync, messages, committed)
        return self._outstanding

    def advance(self, ready: Ready) -> None:
        """The shell has done what `ready` said."""
        invariant(ready is self._outstanding, "R11", "advance() of another Ready")
        self._outstanding = None
        if ready.committed:
            self._log.applied_to(ready.committed[-1].index)
            done = sum(len(entry.data) for entry in ready.committed)
            self._unapplied_bytes = max(0, self._unapplied_bytes - done)
        if ready.hard_state is not None:
            self._written_promise = (ready.hard_state.term, ready.hard_state.vote)
        if ready.entries:
            self._log.written_to(ready.entries[-1])
            if self._replication is not None:
                self._replication.commit()

    def compact(self, index: LogIndex) -> None:
        """Drop applied entries from memory. In a group of several, only what every voter has."""
        if self._replication is not None:
            index = min(index, self._replication.least_match(index))
        if self._alone or self._replication is not None:
            self._log.compact(index)

    # Elections

    def _tick_leader(self, replication: Replication) -> None:
        if self._elapsed >= ELECTION_TICKS:
            self._elapsed = 0
            if not replication.hears_a_quorum():
                # Cut off from its followers, who may have another leader by now.
                self._become_follower(self._term, NOBODY)
                return
        if self._elapsed % HEARTBEAT_TICKS == 0:
            replication.send_heartbeats()

    def _campaign(self) -> None:
        """Ask for votes; first only whether they would be given, so that a hopeless node disturbs nobody."""
        self._start_timeout()
        self._leader = NOBODY
        self._role = Role.PRE_CANDIDATE
        self._ask_for_votes(Term(self._term + 1), pre=True)
        if self._votes_say() is Outcome.WON:
            self._campaign_for_real()

    def _campaign_for_real(self) -> None:
        self._start_timeout()
        self._role = Role.CANDIDATE
        self._term = Term(self._term + 1)
        self._vote = self._id
        self._ask_for_votes(self._term, pre=False)
        if self._votes_say() is Outcome.WON:
            self._become_leader()

    def _ask_for_votes(self, term: Term, *, pre: bool) -> None:
        self._votes = {self._id: True}
        for node in self._others:
            request = VoteRequest(self._id, node, term, pre, self._log.last_index, self._log.last_term)
            self._messages.append(request)

    def _votes_say(self) -> Outcome:
        return self._voters.outcome(self._votes)

    def _start_timeout(self) -> None:
        self._elapsed = 0
        self._timeout = ELECTION_TICKS + self._draw(ELECTION_TICKS)

    def _become_follower(self, term: Term, leader: NodeId) -> None:
        invariant(term >= self._term, "R12", f"term {self._term} to {term}")
        if term > self._term:
            self._term, self._vote = term, NOBODY
        self._role = Role.FOLLOWER
        self._leader = leader
        self._replication = None
        self._unapplied_bytes = 0
        self._start_timeout()

    def _become_leader(self) -> None:
        self._role = Role.LEADER
        self._leader = self._id
        self._elapsed = 0
        self._replication = Replication(self._id, self._term, self._voters, self._log, self._messages)
        self._log.append([Entry(self._term, LogIndex(self._log.last_index + 1), EntryKind.NO_OP, b"")])
        self._replication.broadcast()

    def _ignores_for_its_leader(self, message: Message) -> bool:
        """Whether a vote is asked while the leader is well: then nobody gets one, and no term changes."""
        trusts = self._leader != NOBODY and self._elapsed < ELECTION_TICKS
        return isinstance(message, VoteRequest) and trusts

    def _answer_the_past(self, message: Message) -> None:
        """Tell a node of an older term that time has moved on, where silence would leave it stuck."""
        if isinstance(message, Append | Heartbeat):
            reply = AppendReply(self._id, message.sender, self._term, False, LogIndex(0), LogIndex(0), Term(0))  # noqa: FBT003
            self._messages.append(reply)
        elif isinstance(message, VoteRequest):
            self._messages.append(VoteReply(self._id, message.sender, self._term, message.pre, False))  # noqa: FBT003

    def _dispatch(self, message: Message) -> None:
        match message:
            case VoteRequest():
                self._on_vote_request(message)
            case VoteReply():
                self._on_vote_reply(message)
            case Append():
                self._follow(message.sender)
                self._on_append(message)
            case Heartbeat():
                self._follow(message.sender)
                self._log.commit_to(message.commit)
                self._messages.append(HeartbeatReply(self._id, message.sender, self._term))
            case AppendReply() if self._replication is not None:
                self._replication.on_append_reply(message)
            case HeartbeatReply() if self._replication is not None:
                self._replication.on_heartbeat_reply(message)
            case _:
                pass  # a reply to what this node no longer is

    def _on_vote_request(self, request: VoteRequest) -> None:
        free = self._vote in (NOBODY, request.sender) and self._leader in (NOBODY, request.sender)
        able = free or (request.pre and request.term > self._term)
        ours = (self._log.last_term, self._log.last_index)
        granted = able and (request.last_term, request.last_index) >= ours
        if granted and not request.pre:
            self._vote = request.sender
            self._start_timeout()
        term = request.term if granted else self._term
        self._messages.append(VoteReply(self._id, request.sender, term, request.pre, granted))

    def _on_vote_reply(self, reply: VoteReply) -> None:
        awaited = Role.PRE_CANDIDATE if reply.pre else Role.CANDIDATE
        if self._role is not awaited or (reply.pre and reply.granted and reply.term != self._term + 1):
            return
        self._votes.setdefault(reply.sender, reply.granted)
        match self._votes_say():
            case Outcome.WON if reply.pre:
                self._campaign_for_real()
            case Outcome.WON:
                self._become_leader()
            case Outcome.LOST:
                self._become_follower(self._term, NOBODY)
            case Outcome.PENDING:
                pass

    # Replication

    def _follow(self, leader: NodeId) -> None:
        invariant(self._role is not Role.LEADER, "R13", f"nodes {self._id} and {leader} lead in term {self._term}")
        self._role = Role.FOLLOWER
        self._leader = leader
        self._elapsed = 0

    def _on_append(self, message: Append) -> None:
        if message.previous_index < self._log.committed:
            # Late: what is committed here equals the leader's log by the rules of elections.
            self._accept(message.sender, self._log.committed)
            return
        last = self._log.accept(message.previous_index, message.previous_term, message.entries)
        if last is None:
            hint = self._log.last_not_after(message.previous_index, message.previous_term)
            accepted = False
            reply = AppendReply(self._id, message.sender, self._term, accepted, message.previous_index, *hint)
            self._messages.append(reply)
            return
        self._log.commit_to(LogIndex(min(message.commit, last)))
        self._accept(message.sender, last)

    def _accept(self, leader: NodeId, index: LogIndex) -> None:
        accepted = True
        self._messages.append(AppendReply(self._id, leader, self._term, accepted, index, LogIndex(0), Term(0)))


def _is_hypothetical(message: Message) -> bool:
    """Whether the message's term is one that nobody is in yet."""
    if isinstance(message, VoteReply):
        return message.pre and message.granted
    return isinstance(message, VoteRequest) and message.pre
