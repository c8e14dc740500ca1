"""What a change of membership is made of, and which changes are refused."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.checks import InvariantViolated
from dwd.model.errors import BadRequest, CorruptWal, NotSafe
from dwd.model.ids import NodeId
from dwd.raft.configuration import (
    ChangeKind,
    Configuration,
    MemberChange,
    decode_configuration,
    encode_configuration,
)

VOTER, LEARNER, WITNESS, REMOVE = ChangeKind
THREE = Configuration((NodeId(1), NodeId(2), NodeId(3)))


def changed(start: Configuration, *changes: tuple[ChangeKind, int]) -> Configuration:
    """Apply changes."""
    return start.changed([MemberChange(kind, NodeId(node)) for kind, node in changes])


def test_change_of_voters_is_joint_and_is_left() -> None:
    """Old and new voters decide together, then the new alone."""
    joint = changed(THREE, (VOTER, 4), (REMOVE, 1))
    assert (joint.voters, joint.outgoing, joint.is_joint) == ((2, 3, 4), (1, 2, 3), True)
    assert joint.left() == Configuration((NodeId(2), NodeId(3), NodeId(4)))


def test_change_of_learners_alone_is_not_joint() -> None:
    """Learners decide nothing, so the same voters decide before and after."""
    with_learner = changed(THREE, (LEARNER, 4))
    assert (with_learner.is_joint, with_learner.learners, with_learner.voters) == (False, (4,), (1, 2, 3))
    assert changed(with_learner, (REMOVE, 4)) == THREE


def test_demoted_voter_decides_until_the_change_is_left() -> None:
    """A node is never learner and voter at once."""
    joint = changed(THREE, (LEARNER, 3))
    assert (joint.outgoing, joint.learners, joint.learners_next) == ((1, 2, 3), (), (3,))
    assert joint.left().learners == (3,)
    assert changed(joint.left(), (VOTER, 3)).left() == THREE


def test_witness_votes_and_cannot_lead() -> None:
    """A witness is a voter by its vote only."""
    two = Configuration((NodeId(1), NodeId(2)))
    final = changed(two, (WITNESS, 9)).left()
    assert (final.votes(NodeId(9)), final.may_lead(NodeId(9)), final.may_lead(NodeId(1))) == (True, False, True)
    assert changed(final, (REMOVE, 9)).left() == two


@pytest.mark.parametrize(
    ("start", "changes"),
    [
        (THREE, [(VOTER, 3)]),
        (THREE, [(REMOVE, 7)]),
        (THREE, [(VOTER, 4), (REMOVE, 4)]),
        (THREE, [(VOTER, 0)]),
        (THREE, []),
        (THREE, [(LEARNER, number) for number in range(10, 100)]),
        (THREE, [(WITNESS, 3)]),
        (Configuration((NodeId(1), NodeId(2), NodeId(3)), (), (), (), (NodeId(3),)), [(VOTER, 3)]),
    ],
)
def test_changes_without_sense_are_refused(start: Configuration, changes: list[tuple[ChangeKind, int]]) -> None:
    """What changes nothing, names a stranger or a node twice, or makes another kind of a witness."""
    with pytest.raises(BadRequest):
        changed(start, *changes)


@pytest.mark.parametrize(
    "changes", [[(REMOVE, 1), (REMOVE, 2), (REMOVE, 3)], [(REMOVE, 2), (REMOVE, 3), (WITNESS, 4), (WITNESS, 5)]]
)
def test_group_that_could_not_work_is_refused(changes: list[tuple[ChangeKind, int]]) -> None:
    """Somebody with a state must be in every majority."""
    with pytest.raises(NotSafe):
        changed(THREE, *changes)


NODES = st.integers(1, 6).map(NodeId)
CHANGES = st.lists(st.builds(MemberChange, st.sampled_from(ChangeKind), NODES), min_size=1, max_size=4)


@given(st.lists(CHANGES, max_size=5))
@settings(derandomize=True, max_examples=150, deadline=None)
def test_every_step_shares_a_majority_with_the_step_before(steps: list[list[MemberChange]]) -> None:
    """Whatever is changed: a majority of one configuration meets every majority of the next."""
    now = THREE
    for step in steps:
        try:
            after = now.changed(step)
        except (BadRequest, NotSafe):
            continue
        path = [now, after, after.left()] if after.is_joint else [now, after]
        for one, other in itertools.pairwise(path):
            # Without a majority of the one, there is none of the other: try all sets of nodes.
            everyone = sorted(one.members | other.members)
            for bits in range(1 << len(everyone)):
                yes = {node: bool(bits >> at & 1) for at, node in enumerate(everyone)}
                no = {node: not says for node, says in yes.items()}
                won = "won"
                assert not (one.quorum.outcome(yes).value == won and other.quorum.outcome(no).value == won)
        assert not frozenset(after.voters) & frozenset(after.learners)
        assert frozenset(after.witnesses) <= after.members
        now = path[-1]


def test_encoding_keeps_everything_and_refuses_damage() -> None:
    """What is in the log comes back; what is none stops the node."""
    joint = changed(changed(THREE, (LEARNER, 8)), (WITNESS, 9), (LEARNER, 1))
    assert decode_configuration(encode_configuration(joint)) == joint
    with pytest.raises(CorruptWal):
        decode_configuration(b"\xc0")


def test_change_on_top_of_a_joint_configuration_is_a_bug() -> None:
    """The leader refuses it before it comes to that."""
    with pytest.raises(InvariantViolated, match="R14"):
        changed(changed(THREE, (REMOVE, 1)), (VOTER, 4))
