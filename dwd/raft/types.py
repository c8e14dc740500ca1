"""The values of consensus: what is logged, what is said, and what the shell is asked to do.

Entries, hard states and messages are bytes on disk or on the wire: fields are only ever added at the end.
"""

from enum import IntEnum
from typing import Final

import msgspec

from dwd.model.ids import LogIndex, NodeId, Term

NOBODY: Final = NodeId(0)


class EntryKind(IntEnum):
    """What an entry means to whoever applies it. On disk: values never change."""

    COMMAND = 0
    NO_OP = 1  # the first entry of a leader: lets it commit what earlier leaders left


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line of the log."""

    term: Term
    index: LogIndex
    kind: EntryKind
    data: bytes


class HardState(msgspec.Struct, frozen=True, array_like=True):
    """What a node must not forget. `commit` is a hint that saves work at restart: it may lag."""

    term: Term
    vote: NodeId
    commit: LogIndex


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    """A call for a vote in `term`; with `pre`, a question whether there would be one: nobody's term changes."""

    sender: NodeId
    to: NodeId
    term: Term
    pre: bool
    last_index: LogIndex
    last_term: Term


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
    """The leader lives; `commit` never exceeds what it knows the receiver to have."""

    sender: NodeId
    to: NodeId
    term: Term
    commit: LogIndex


class HeartbeatReply(msgspec.Struct, frozen=True, array_like=True, tag="heartbeat-reply"):
    """So do I."""

    sender: NodeId
    to: NodeId
    term: Term


Message = VoteRequest | VoteReply | Append | AppendReply | Heartbeat | HeartbeatReply


class Ready(msgspec.Struct, frozen=True):
    """What the shell must do now, in this order: write, sync, send, apply; then advance().

    * write: if `hard_state` is given, append it and `entries` to the WAL as one record. An entry replaces any
      entry of its index and all behind it.
    * sync: if `must_sync`, make the WAL durable before going on. See RaftNode on when it is False.
    * send: `messages`, in any order; they may be lost. (Append and Heartbeat may leave before the write: they
      promise nothing about this node's disk.)
    * apply: `committed`, in order; every entry is handed out once in the life of the process.
    """

    hard_state: HardState | None
    entries: list[Entry]
    must_sync: bool
    messages: list[Message]
    committed: list[Entry]
