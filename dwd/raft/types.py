"""The values of consensus: what is logged, what is said, and what the shell is asked to do.

Entries, hard states and messages are bytes on disk or on the wire: fields are only ever added at the end.
"""

from enum import IntEnum
from typing import Final

import msgspec

from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import Configuration, Placed

NOBODY: Final = NodeId(0)


class EntryKind(IntEnum):
    """What an entry means to whoever applies it. On disk: values never change."""

    COMMAND = 0
    NO_OP = 1  # the first entry of a leader: lets it commit what earlier leaders left
    CONFIGURATION = 2  # who is a member from this entry on; concerns this package only


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line of the log."""

    term: Term
    index: LogIndex
    kind: EntryKind
    data: bytes


class HardState(msgspec.Struct, frozen=True, array_like=True):
    """What a node must not forget. `commit` is a hint that saves work at restart: it may lag.

    `configurations`: the one in force before what is written with this and may be truncated, and all behind it; empty
    while there never was another than the one that the group was made with.
    """

    term: Term
    vote: NodeId
    commit: LogIndex
    configurations: tuple[Placed, ...] = ()


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot stands for. `id` names its content (and says how to check it) to the shell alone."""

    index: LogIndex
    term: Term
    configuration: Configuration
    id: bytes


class ReadContext(msgspec.Struct, frozen=True, array_like=True):
    """A question how far the log is, never asked twice: a node draws a new `incarnation` each time it starts."""

    asker: NodeId
    incarnation: int
    number: int


class ReadAnswer(msgspec.Struct, frozen=True):
    """Whoever has applied the log up to `index` may serve the reads that were asked under `context`."""

    context: ReadContext
    index: LogIndex


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    """A call for a vote in `term`; with `pre`, a question whether there would be one: nobody's term changes.

    With `forced` the leader itself asked for the election, so trust in it is no reason to stay silent.
    """

    sender: NodeId
    to: NodeId
    term: Term
    pre: bool
    last_index: LogIndex
    last_term: Term
    forced: bool = False


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag="vote-reply"):
    """A granted pre-vote carries the term that was asked about; any other reply the voter's own."""

    sender: NodeId
    to: NodeId
    term: Term
    pre: bool
    granted: bool


class Append(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """Entries that follow the one at `previous_index`, which must have `previous_term`."""

    sender: NodeId
    to: NodeId
    term: Term
    previous_index: LogIndex
    previous_term: Term
    entries: tuple[Entry, ...]
    commit: LogIndex


class AppendReply(msgspec.Struct, frozen=True, array_like=True, tag="append-reply"):
    """Accepted: the log equals the leader's up to `index`, on disk.

    Rejected: it has another entry, or none, at `index`; none behind `hint_index` can agree with the leader's.
    """

    sender: NodeId
    to: NodeId
    term: Term
    accepted: bool
    index: LogIndex
    hint_index: LogIndex
    hint_term: Term


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag="heartbeat"):
    """The leader lives; `commit` never exceeds what it knows the receiver to have.

    `round` is the last round of reads that waits for an answer to this; 0: none does.
    """

    sender: NodeId
    to: NodeId
    term: Term
    commit: LogIndex
    round: int = 0


class HeartbeatReply(msgspec.Struct, frozen=True, array_like=True, tag="heartbeat-reply"):
    """So do I; `round` as in the Heartbeat."""

    sender: NodeId
    to: NodeId
    term: Term
    round: int = 0


class InstallSnapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """The log before `manifest.index` is gone: take this snapshot. Its content travels beside the messages.

    The shell gives this to the node only when the content is on this node's disk, and is what the manifest says; the
    shell of a witness, too, for the answer says that this node can give back all up to `manifest.index`.
    """

    sender: NodeId
    to: NodeId
    term: Term
    manifest: Manifest


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag="timeout-now"):
    """The leader wants the receiver to lead, and asks it to stand for election at once."""

    sender: NodeId
    to: NodeId
    term: Term
    gives_up_lease: bool  # the sender serves no read from its lease any more, and nobody before it does


class ReadRequest(msgspec.Struct, frozen=True, array_like=True, tag="read"):
    """A follower asks how far the log is."""

    sender: NodeId
    to: NodeId
    term: Term
    context: ReadContext


class ReadReply(msgspec.Struct, frozen=True, array_like=True, tag="read-reply"):
    """At some time after the question, all that anyone had been told was done stood at or before `index`."""

    sender: NodeId
    to: NodeId
    term: Term
    context: ReadContext
    index: LogIndex


Message = (
    VoteRequest
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | InstallSnapshot
    | TimeoutNow
    | ReadRequest
    | ReadReply
)


class Ready(msgspec.Struct, frozen=True):
    """What the shell must do now, in this order: write, sync, install, send, apply, answer; then advance().

    * write: if `hard_state` is given, append it, `entries` and `snapshot` to the WAL as one record. An entry replaces
      any entry of its index and all behind it; a snapshot replaces the log.
    * sync: if `must_sync`, make the WAL durable before going on. See RaftNode on when it is False.
    * install: if `snapshot` is given, its content takes the place of the state, and its index that of the last entry
      applied. A witness has no state: it keeps the content as it is, to give it away.
    * send: `messages`, in any order; they may be lost. (Append and Heartbeat may leave before the write, for they
      promise nothing about this node's disk; but not if this Ready brings another term or vote than the one before.)
    * apply: `committed`, in order; every entry is handed out once in the life of the process. Only a COMMAND has
      effects.
    * answer: each of `reads`, as soon as its index is applied.
    """

    hard_state: HardState | None
    entries: list[Entry]
    must_sync: bool
    messages: list[Message]
    committed: list[Entry]
    snapshot: Manifest | None = None
    reads: tuple[ReadAnswer, ...] = ()
