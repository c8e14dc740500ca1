"""A node's part in its group, by terms: it follows, stands for election, or leads. Messages and time go in.

Messages to others gather in `messages` and answers to reads in `answers`; node.py gives them to the shell.
"""

from collections.abc import Callable
from enum import Enum

import attrs

from dwd.model.checks import invariant
from dwd.model.errors import NotLeader
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.elections import Elections
from dwd.raft.following import Following
from dwd.raft.leading import Leadership, Place
from dwd.raft.lease import LeaseClock
from dwd.raft.log import RaftLog
from dwd.raft.quorum import Outcome, Voters
from dwd.raft.types import (
    NOBODY,
    Append,
    AppendReply,
    HardState,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadAnswer,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)


class Role(Enum):
    """What a node is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"  # asks whether it could win, and changes nobody's term by asking
    CANDIDATE = "candidate"
    LEADER = "leader"


@attrs.frozen
class Group:
    """Who this node is, and with whom.

    `voters`: with whom the group was made, whatever became of them; None for a node that joins a group later.
    """

    node: NodeId
    voters: Voters | None
    witness: bool = attrs.field(default=False, kw_only=True)  # votes and keeps log and snapshot, applies nothing
    patience: int = attrs.field(default=0, kw_only=True)  # election time-outs that others are given to stand first
    lease_ns: int = attrs.field(default=0, kw_only=True)  # one value for all members, always; 0: there are no leases


class Member:
    """What a node is in the term that it is in."""

    def __init__(self, group: Group, hard_state: HardState, log: RaftLog, draw: Callable[[int], int]) -> None:
        """Begin as a follower of nobody."""
        self._id = group.node
        self._group = group
        self._log = log
        self._membership = log.membership
        self.elections = Elections(group.node, hard_state, group.patience + group.witness, draw)
        self._clock = LeaseClock(group.lease_ns)
        self._excused_term = Term(0)  # in which no lease of others needs to be waited for
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.leadership: Leadership | None = None
        self.messages: list[Message] = []
        self.answers: list[ReadAnswer] = []
        self.following = Following(group.node, log, self._clock, self.messages)

    @property
    def term(self) -> Term:
        """The latest term it has seen."""
        return self.elections.term

    def leading(self) -> Leadership:
        """Its office.

        Raises:
            NotLeader: another node leads, or none.
        """
        if self.leadership is None:
            raise NotLeader(f"node {self._id} does not lead; node {self.leader} does, as far as it knows")
        return self.leadership

    def tick(self, now_ns: int) -> None:
        """A unit of time has passed."""
        self._clock.tick(now_ns)
        due = self.elections.tick()
        if self.leadership is not None:
            if not self.leadership.tick():
                self._become_follower(self.term, NOBODY)
            self._heed_resignation()
        elif self._membership.alone or due:
            self._stand()

    def wrote(self) -> None:
        """More of the log is on this node's disk."""
        if self.leadership is not None:
            self.leadership.commit()
            self._heed_resignation()

    def step(self, message: Message) -> None:
        """A message to this node has arrived."""
        if message.term > self.term:
            if self._ignores_for_its_leader(message):
                return
            if not _is_hypothetical(message):
                leads = isinstance(message, Append | Heartbeat | InstallSnapshot)
                self._become_follower(message.term, message.sender if leads else NOBODY)
        elif message.term < self.term:
            self._answer_the_past(message)
            return
        self._dispatch(message)
        self._heed_resignation()

    def _stand(self) -> None:
        """Ask for votes; first only whether they would be given, so that a hopeless node disturbs nobody."""
        self.leader = NOBODY
        self.elections.start_timer()
        if not self._may_stand:
            self.role = Role.FOLLOWER
            return
        self.role = Role.PRE_CANDIDATE
        self._ask_for_votes(Term(self.term + 1), pre=True)
        if self.elections.outcome(self._membership.quorum) is Outcome.WON:
            self._stand_for_real(forced=False)

    @property
    def _may_stand(self) -> bool:
        """A voter, or one that is removed by an entry that may not count yet: perhaps nobody else has that entry."""
        membership = self._membership
        return membership.current.votes(self._id) or membership.at(self._log.committed).votes(self._id)

    def _stand_for_real(self, *, forced: bool) -> None:
        self.elections.stand()
        self.role = Role.CANDIDATE
        self._ask_for_votes(self.term, pre=False, forced=forced)
        if self.elections.outcome(self._membership.quorum) is Outcome.WON:
            self._become_leader()

    def _ask_for_votes(self, term: Term, *, pre: bool, forced: bool = False) -> None:
        self.elections.ask()
        last_index, last_term = self._log.last_index, self._log.last_term
        for node in self._membership.others:
            if self._membership.current.votes(node):
                self.messages.append(VoteRequest(self._id, node, term, pre, last_index, last_term, forced))

    def _become_follower(self, term: Term, leader: NodeId) -> None:
        self.elections.enter(term)
        self.elections.start_timer()
        self.role = Role.FOLLOWER
        self.leader = leader
        self.leadership = None

    def _become_leader(self) -> None:
        self.role = Role.LEADER
        self.leader = self._id
        place = Place(self._id, self._group.witness, self.term, self._log, self._clock, self.messages, self.answers)
        self.leadership = Leadership(place, excused=self.term == self._excused_term)

    def _heed_resignation(self) -> None:
        if self.leadership is not None and self.leadership.resigned:
            self._become_follower(self.term, NOBODY)

    def _ignores_for_its_leader(self, message: Message) -> bool:
        """Whether a vote is asked while the leader is well: then nobody gets one, and no term changes."""
        if not isinstance(message, VoteRequest) or message.forced or self.leader == NOBODY:
            return False
        return self.leader == self._id or self.elections.trusting

    def _answer_the_past(self, message: Message) -> None:
        """Tell a node of an older term that time has moved on, where silence would leave it stuck."""
        if isinstance(message, Append | Heartbeat | InstallSnapshot):
            reply = AppendReply(self._id, message.sender, self.term, False, LogIndex(0), LogIndex(0), Term(0))  # noqa: FBT003
            self.messages.append(reply)
        elif isinstance(message, VoteRequest):
            self.messages.append(VoteReply(self._id, message.sender, self.term, message.pre, False))  # noqa: FBT003

    def _dispatch(self, message: Message) -> None:
        match message:
            case VoteRequest():
                self._on_vote_request(message)
            case VoteReply():
                self._on_vote_reply(message)
            case Append() | Heartbeat() | InstallSnapshot():
                self._follow(message.sender)
                self.following.take(message)
            case TimeoutNow():
                self._on_timeout_now(message)
            case ReadReply():
                self.answers.append(ReadAnswer(message.context, message.index))
            case AppendReply() | HeartbeatReply() | ReadRequest():
                self._on_reply(message)

    def _on_vote_request(self, request: VoteRequest) -> None:
        granted = self.elections.grants(request, self.leader, self._log.last_term, self._log.last_index)
        if granted and not request.pre:
            self.elections.give_vote(request.sender)
        term = request.term if granted else self.term
        self.messages.append(VoteReply(self._id, request.sender, term, request.pre, granted))

    def _on_vote_reply(self, reply: VoteReply) -> None:
        awaited = Role.PRE_CANDIDATE if reply.pre else Role.CANDIDATE
        if self.role is not awaited or (reply.pre and reply.granted and reply.term != self.term + 1):
            return
        self.elections.count(reply.sender, reply.granted)
        match self.elections.outcome(self._membership.quorum):
            case Outcome.WON if reply.pre:
                self._stand_for_real(forced=False)
            case Outcome.WON:
                self._become_leader()
            case Outcome.LOST:
                self._become_follower(self.term, NOBODY)
            case Outcome.PENDING:
                pass

    def _on_timeout_now(self, message: TimeoutNow) -> None:
        """The leader hands over: stand at once, without asking whether it would do."""
        if self.leadership is None and not self._group.witness and self._may_stand:
            if message.gives_up_lease:
                self._excused_term = Term(self.term + 1)
            self._stand_for_real(forced=True)

    def _follow(self, leader: NodeId) -> None:
        invariant(self.role is not Role.LEADER, "R13", f"nodes {self._id} and {leader} lead in term {self.term}")
        self.role = Role.FOLLOWER
        self.leader = leader
        self.elections.heard_leader()

    def _on_reply(self, message: AppendReply | HeartbeatReply | ReadRequest) -> None:
        """Only a leader takes answers, and only from its members; others no longer ask for what they answer."""
        leadership = self.leadership
        if leadership is None or message.sender not in leadership.progress:
            return
        match message:
            case AppendReply():
                leadership.on_append_reply(message)
            case HeartbeatReply():
                leadership.on_heartbeat_reply(message)
            case ReadRequest():
                leadership.ask(message.context)


def _is_hypothetical(message: Message) -> bool:
    """Whether the message's term is one that nobody is in yet."""
    if isinstance(message, VoteReply):
        return message.pre and message.granted
    return isinstance(message, VoteRequest) and message.pre
