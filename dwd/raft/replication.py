"""What a leader does to bring its followers' logs up to its own, and to learn what a quorum has."""

from collections.abc import Mapping
from typing import Final

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.model.units import MIB
from dwd.raft.log import ENTRY_OVERHEAD_BYTES, RaftLog
from dwd.raft.progress import Progress, ProgressState
from dwd.raft.quorum import Outcome, Voters
from dwd.raft.types import Append, AppendReply, Heartbeat, InstallSnapshot, Message

APPEND_BYTES_MAX: Final = 1 * MIB  # of one message, or one entry
SNAPSHOTS_AT_ONCE_MAX: Final = 2  # wait: the third follower that needs one


class Replication:
    """One leader's term: the progress of every follower. Messages go to the node's outbox."""

    def __init__(self, node: NodeId, term: Term, log: RaftLog, outbox: list[Message]) -> None:
        self._id = node
        self._term = term
        self._log = log
        self._outbox = outbox
        self._progress: dict[NodeId, Progress] = {}
        self._quorum: Voters = log.membership.quorum
        self.snapshot_wanted = False  # a follower needs one, and none that was offered will do
        self.reconfigured()

    @property
    def progress(self) -> Mapping[NodeId, Progress]:
        """Every follower."""
        return self._progress

    @property
    def quorum(self) -> Voters:
        """Who decides now."""
        return self._quorum

    def reconfigured(self) -> None:
        """The membership has changed: begin with the new, let go of the removed."""
        membership = self._log.membership
        self._quorum = membership.quorum
        behind = LogIndex(self._log.last_index + 1)
        old = self._progress
        self._progress = {node: old.get(node) or Progress(behind) for node in membership.others}

    def tick(self) -> None:
        """Time passes."""
        for progress in self._progress.values():
            progress.tick()

    def broadcast(self) -> None:
        """Send what followers lack, as far as there is room on the way."""
        for node, progress in self._progress.items():
            self._send_rest(node, progress)

    def send_heartbeats(self, read_round: int) -> None:
        """Show every follower that the leader lives, and what is committed of what it has."""
        for node, progress in self._progress.items():
            commit = min(progress.match, self._log.committed)
            self._outbox.append(Heartbeat(self._id, node, self._term, commit, read_round))

    def hears_a_quorum(self) -> bool:
        """Whether enough followers spoke since this was last asked."""
        heard = {node: progress.heard for node, progress in self._progress.items()}
        for progress in self._progress.values():
            progress.heard = False
        return self._quorum.outcome({**heard, self._id: True}) is Outcome.WON

    def on_append_reply(self, reply: AppendReply) -> bool:
        """A follower took entries, or lacks those before them. Returns whether it has more than was known."""
        progress = self._progress[reply.sender]
        progress.heard = True
        if reply.accepted:
            invariant(reply.index <= self._log.last_index, "R19", (reply, self._log.last_index))
            return progress.accepted(reply.index, self._log.base_index)
        retry_from, _ = self._log.last_not_after(reply.hint_index, reply.hint_term)
        if progress.rejected(reply.index, retry_from):
            self._send(reply.sender, progress)
        return False

    def on_heartbeat_reply(self, node: NodeId) -> None:
        """A follower lives: if it lacks something, what was sent may have been lost."""
        progress = self._progress[node]
        progress.answered_heartbeat()
        if progress.match < self._log.last_index or progress.state is ProgressState.PROBE:
            self._send(node, progress)

    def commit(self) -> bool:
        """Raise the commit index to what a quorum has on disk, and tell the followers. Returns whether it rose.

        Only an entry of this term proves it: one of an older term may still be replaced.
        """
        index = self._log.written
        if self._progress:
            match = {node: progress.match for node, progress in self._progress.items()}
            match[self._id] = self._log.written
            index = self._quorum.committed(match)
        if index <= self._log.committed or self._log.term(index) != self._term:
            return False
        self._log.commit_to(index)
        for node, progress in self._progress.items():
            self._send(node, progress)
        return True

    def send_rest(self, node: NodeId) -> None:
        """Send one follower what it lacks, as far as there is room on the way."""
        self._send_rest(node, self._progress[node])

    def offered(self) -> None:
        """There is a newer snapshot to give away."""
        self.snapshot_wanted = False

    def report_snapshot(self, node: NodeId, *, ok: bool) -> None:
        """The shell has brought a snapshot's content to a follower, or failed to."""
        if node in self._progress:
            self._progress[node].snapshot_ended(ok=ok)

    def report_unreachable(self, node: NodeId) -> None:
        """The shell could not send to a follower."""
        if node in self._progress:
            self._progress[node].unreachable()

    def _send_rest(self, node: NodeId, progress: Progress) -> None:
        while progress.next <= self._log.last_index and not progress.paused:
            self._send(node, progress)

    def _send(self, node: NodeId, progress: Progress) -> None:
        if progress.paused:
            return
        previous = LogIndex(progress.next - 1)
        term = self._log.term(previous)
        if term is None:
            self._send_snapshot(node, progress)
            return
        entries = tuple(self._log.slice(progress.next, self._log.last_index, APPEND_BYTES_MAX))
        self._outbox.append(Append(self._id, node, self._term, previous, term, entries, self._log.committed))
        size = sum(len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in entries)
        progress.sent(LogIndex(previous + len(entries)), size)

    def _send_snapshot(self, node: NodeId, progress: Progress) -> None:
        """The entries that it needs are gone from the log."""
        offered = self._log.offered
        if offered is None or offered.index < self._log.base_index:
            self.snapshot_wanted = True
            progress.wait()
            return
        on_the_way = sum(other.state is ProgressState.SNAPSHOT for other in self._progress.values())
        if on_the_way >= SNAPSHOTS_AT_ONCE_MAX:
            progress.wait()
            return
        progress.snapshot_sent(offered.index)
        self._outbox.append(InstallSnapshot(self._id, node, self._term, offered))
