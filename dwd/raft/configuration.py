"""Who belongs to a group, and what a change of that looks like. Pure values; membership.py says when one is in force.

A change of voters passes through a joint configuration, in which every decision needs a majority of the old voters and
one of the new. It is left by a second entry of the log, which the leader adds by itself. Learners decide nothing, so a
change of learners alone is one entry.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

from dwd.model.checks import invariant
from dwd.model.errors import BadRequest, CorruptWal, NotSafe
from dwd.model.ids import LogIndex, NodeId
from dwd.raft.quorum import Voters

MEMBERS_MAX: Final = 64  # refuse: a leader holds a pipeline for each


class ChangeKind(IntEnum):
    """What a node is to become."""

    VOTER = 0
    LEARNER = 1  # receives the log, decides nothing
    WITNESS = 2  # votes and keeps log and snapshot, applies nothing
    REMOVE = 3


class MemberChange(msgspec.Struct, frozen=True, array_like=True):
    """One node's part in a change."""

    kind: ChangeKind
    node: NodeId


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """The members, each list in order. While `outgoing` is not empty, it is joint.

    `learners_next` are outgoing voters that become learners when it is left. `witnesses` are voters, of either list.
    """

    voters: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
    learners_next: tuple[NodeId, ...] = ()
    witnesses: tuple[NodeId, ...] = ()

    @property
    def is_joint(self) -> bool:
        """Whether two sets of voters decide."""
        return bool(self.outgoing)

    @property
    def quorum(self) -> Voters:
        """Who decides."""
        return Voters(frozenset(self.voters), frozenset(self.outgoing))

    @property
    def members(self) -> frozenset[NodeId]:
        """Everyone who receives the log."""
        return frozenset((*self.voters, *self.outgoing, *self.learners))

    def votes(self, node: NodeId) -> bool:
        """Whether a node's vote counts."""
        return node in self.voters or node in self.outgoing

    def may_lead(self, node: NodeId) -> bool:
        """Whether a node can be asked to lead; one that is on its way out leads until it is."""
        return self.votes(node) and node not in self.witnesses

    def changed(self, changes: Iterable[MemberChange]) -> "Configuration":
        """The configuration that begins a change: joint, or final where the voters stay.

        Raises:
            BadRequest: the changes contradict each other or what is there, or change nothing.
            NotSafe: no voter with a state would be left, or witnesses could decide alone.
        """
        invariant(not self.is_joint, "R14", ("a change on top of a change", self))
        goal = _Goal(self)
        for change in changes:
            goal.take(change)
        voters, learners, witnesses = frozenset(goal.voters), frozenset(goal.learners), frozenset(goal.witnesses)
        _check_goal(voters, learners, witnesses)
        old = frozenset(self.voters)
        if voters == old and learners == frozenset(self.learners):
            raise BadRequest("the members are what they are to become already: there is nothing to change")
        if voters == old:
            return Configuration(self.voters, (), _ordered(learners), (), self.witnesses)
        return Configuration(
            _ordered(voters),
            self.voters,
            _ordered(learners - old),
            _ordered(learners & old),
            _ordered(witnesses | frozenset(self.witnesses)),
        )

    def left(self) -> "Configuration":
        """What a joint configuration becomes."""
        learners = _ordered(frozenset((*self.learners, *self.learners_next)))
        return Configuration(self.voters, (), learners, (), tuple(n for n in self.witnesses if n in self.voters))


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """A configuration, and the entry that brought it (0: the group was made with it)."""

    index: LogIndex
    configuration: Configuration


class _Goal:
    """The sets that a list of changes leads to."""

    def __init__(self, start: Configuration) -> None:
        self.voters = set(start.voters)
        self.learners = set(start.learners)
        self.witnesses = set(start.witnesses)
        self._named: set[NodeId] = set()

    def take(self, change: MemberChange) -> None:
        """Apply one change."""
        node = change.node
        if node < 1:
            raise BadRequest(f"{node} is no id of a node")
        if node in self._named:
            raise BadRequest(f"node {node} is named twice in one change")
        self._named.add(node)
        known = node in self.voters or node in self.learners
        if known and change.kind is not ChangeKind.REMOVE:
            self._check_kind(change)
        if not known and change.kind is ChangeKind.REMOVE:
            raise BadRequest(f"node {node} is no member")
        for group in (self.voters, self.learners, self.witnesses):
            group.discard(node)
        if change.kind in (ChangeKind.VOTER, ChangeKind.WITNESS):
            self.voters.add(node)
        if change.kind is ChangeKind.WITNESS:
            self.witnesses.add(node)
        if change.kind is ChangeKind.LEARNER:
            self.learners.add(node)

    def _check_kind(self, change: MemberChange) -> None:
        """What a node keeps on its disk is settled when it joins."""
        if (change.node in self.witnesses) != (change.kind is ChangeKind.WITNESS):
            raise BadRequest(f"node {change.node} cannot change between witness and full member: remove it, join anew")


def _check_goal(voters: frozenset[NodeId], learners: frozenset[NodeId], witnesses: frozenset[NodeId]) -> None:
    if len(voters) + len(learners) > MEMBERS_MAX:
        raise BadRequest(f"a group has at most {MEMBERS_MAX} members")
    if not voters - witnesses:
        raise NotSafe("no voter that has the state would be left")
    if len(witnesses) > len(voters) // 2:
        raise NotSafe(f"{len(witnesses)} witnesses of {len(voters)} voters could decide alone, and none has the state")


def _ordered(nodes: frozenset[NodeId]) -> tuple[NodeId, ...]:
    return tuple(sorted(nodes))


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Configuration)


def encode_configuration(configuration: Configuration) -> bytes:
    """The data of a CONFIGURATION entry."""
    return _encoder.encode(configuration)


def decode_configuration(data: bytes) -> Configuration:
    """Read it back.

    Raises:
        CorruptWal: it is none.
    """
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise CorruptWal(f"an entry that should hold a configuration cannot be decoded: {error}") from error
