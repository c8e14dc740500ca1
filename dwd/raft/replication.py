"""What a leader does to bring its followers' logs up to its own, and to learn what a quorum has."""

from typing import Final

from dwd.model.ids import LogIndex, NodeId, Term
from dwd.model.units import MIB
from dwd.raft.log import RaftLog
from dwd.raft.progress import Progress
from dwd.raft.quorum import Outcome, Voters
from dwd.raft.types import Append, AppendReply, Heartbeat, HeartbeatReply, Message

APPEND_BYTES_MAX: Final = 1 * MIB  # of one message, or one entry


class Replication:
    """One leader's term: the progress of every follower. Messages go to the node's outbox."""

    def __init__(self, node: NodeId, term: Term, voters: Voters, log: RaftLog, outbox: list[Message]) -> None:
        self._id = node
        self._term = term
        self._voters = voters
        self._log = log
        self._outbox = outbox
        behind = LogIndex(log.last_index + 1)
        self._progress = {other: Progress(behind) for other in sorted(voters.everyone - {node})}

    def broadcast(self) -> None:
        """Send what followers lack, as far as there is room on the way."""
        for node, progress in self._progress.items():
            self._send_rest(node, progress)

    def send_heartbeats(self) -> None:
        """Show every follower that the leader lives, and what is committed of what it has."""
        for node, progress in self._progress.items():
            commit = min(progress.match, self._log.committed)
            self._outbox.append(Heartbeat(self._id, node, self._term, commit))

    def hears_a_quorum(self) -> bool:
        """Whether enough followers spoke since this was last asked."""
        heard = {node: progress.heard for node, progress in self._progress.items()}
        for progress in self._progress.values():
            progress.heard = False
        return self._voters.outcome({**heard, self._id: True}) is Outcome.WON

    def least_match(self, most: LogIndex) -> LogIndex:
        """The last index that every follower has, or `most` if that is less."""
        return min((progress.match for progress in self._progress.values()), default=most)

    def on_append_reply(self, reply: AppendReply) -> None:
        """A follower took entries, or lacks those before them."""
        progress = self._progress[reply.sender]
        progress.heard = True
        if reply.accepted:
            if progress.accepted(reply.index) and not self.commit():
                self._send_rest(reply.sender, progress)
            return
        retry_from, _ = self._log.last_not_after(reply.hint_index, reply.hint_term)
        if progress.rejected(reply.index, retry_from):
            self._send(reply.sender, progress)

    def on_heartbeat_reply(self, reply: HeartbeatReply) -> None:
        """A follower lives: if it lacks something, what was sent may have been lost."""
        progress = self._progress[reply.sender]
        progress.answered_heartbeat()
        if progress.match < self._log.last_index:
            self._send(reply.sender, progress)

    def commit(self) -> bool:
        """Raise the commit index to what a quorum has on disk, and tell the followers. Returns whether it rose.

        Only an entry of this term proves it: one of an older term may still be replaced.
        """
        match = {node: progress.match for node, progress in self._progress.items()}
        index = self._voters.committed({**match, self._id: self._log.written})
        if index <= self._log.committed or self._log.term(index) != self._term:
            return False
        self._log.commit_to(index)
        for node, progress in self._progress.items():
            self._send(node, progress)
        return True

    def _send_rest(self, node: NodeId, progress: Progress) -> None:
        while progress.next <= self._log.last_index and not progress.paused:
            self._send(node, progress)

    def _send(self, node: NodeId, progress: Progress) -> None:
        if progress.paused:
            return
        previous = LogIndex(progress.next - 1)
        term = self._log.term(previous)
        if term is None:
            # Compacted away before the last restart: no message can bring this follower up any more.
            return
        entries = tuple(self._log.slice(progress.next, self._log.last_index, APPEND_BYTES_MAX))
        self._outbox.append(Append(self._id, node, self._term, previous, term, entries, self._log.committed))
        progress.sent(LogIndex(previous + len(entries)), empty=not entries)
