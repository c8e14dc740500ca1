"""What a follower does with its leader's entries, heartbeats and snapshots, and what it answers."""

from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.lease import LeaseClock
from dwd.raft.log import RaftLog
from dwd.raft.types import Append, AppendReply, Heartbeat, HeartbeatReply, InstallSnapshot, Manifest, Message


class Following:
    """The node has seen to it that the sender leads the node's term."""

    def __init__(self, node: NodeId, log: RaftLog, clock: LeaseClock, outbox: list[Message]) -> None:
        self._id = node
        self._log = log
        self._clock = clock
        self._outbox = outbox
        self._restored: Manifest | None = None

    def take(self, message: Append | Heartbeat | InstallSnapshot) -> None:
        """Do what the leader says."""
        match message:
            case Append():
                self._append(message)
            case Heartbeat():
                self._log.commit_to(message.commit)
                self._outbox.append(HeartbeatReply(self._id, message.sender, message.term, message.round))
            case InstallSnapshot():
                self._restore(message)

    def take_restored(self) -> Manifest | None:
        """The snapshot that took the log's place since this was last asked."""
        restored, self._restored = self._restored, None
        return restored

    def _append(self, message: Append) -> None:
        log = self._log
        if message.previous_index < log.committed:
            # Late: what is committed here equals the leader's log by the rules of elections.
            self._accept(message, log.committed)
            return
        last = log.accept(message.previous_index, message.previous_term, message.entries)
        if last is None:
            hint = log.last_not_after(message.previous_index, message.previous_term)
            accepted = False
            reply = AppendReply(self._id, message.sender, message.term, accepted, message.previous_index, *hint)
            self._outbox.append(reply)
            return
        if message.entries:
            self._clock.took()
        log.commit_to(LogIndex(min(message.commit, last)))
        self._accept(message, last)

    def _restore(self, message: InstallSnapshot) -> None:
        """A snapshot is taken only where the log cannot serve: it is behind, or another."""
        log, manifest = self._log, message.manifest
        if manifest.index > log.committed:
            if log.term(manifest.index) == manifest.term:
                log.commit_to(manifest.index)
            else:
                log.restore(manifest)
                self._clock.took()
                self._restored = manifest
        self._accept(message, log.committed)

    def _accept(self, message: Append | InstallSnapshot, index: LogIndex) -> None:
        accepted = True
        reply = AppendReply(self._id, message.sender, message.term, accepted, index, LogIndex(0), Term(0))
        self._outbox.append(reply)
