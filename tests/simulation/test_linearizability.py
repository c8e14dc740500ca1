"""The search for an order: it finds one where there is one, and says so where there is none."""

from tests.simulation.linearizability import NEVER, Operation, Verdict, judge
from tests.simulation.registers import Act


def put(began: int, ended: int, value: int, before: int | None) -> Operation:
    """A write, which learns what it replaced."""
    return Operation(began, ended, Act.PUT, value, 0, before)


def get(began: int, ended: int, value: int) -> Operation:
    """A read."""
    return Operation(began, ended, Act.GET, 0, 0, value)


def test_one_after_the_other() -> None:
    """A read after a write sees it."""
    assert judge([put(0, 1, 7, 0), get(2, 3, 7)]) is Verdict.LINEARIZABLE
    assert judge([put(0, 1, 7, 0), get(2, 3, 0)]) is Verdict.IMPOSSIBLE


def test_at_the_same_time() -> None:
    """A read beside a write sees what was or what is, but not first the new and then the old."""
    write = put(0, 10, 7, 0)
    assert judge([write, get(1, 2, 0), get(3, 4, 7)]) is Verdict.LINEARIZABLE
    assert judge([write, get(1, 2, 7), get(3, 4, 0)]) is Verdict.IMPOSSIBLE


def test_nobody_knows_whether_it_happened() -> None:
    """A write that was given up may happen much later, or never, but not before it began."""
    lost = put(5, NEVER, 7, None)
    assert judge([lost, get(6, 7, 0), get(8, 9, 7)]) is Verdict.LINEARIZABLE
    assert judge([lost, get(6, 7, 0), get(8, 9, 0)]) is Verdict.LINEARIZABLE
    assert judge([lost, get(1, 2, 7)]) is Verdict.IMPOSSIBLE


def test_once() -> None:
    """An addition that was given up may have happened, but not twice."""
    lost = Operation(0, NEVER, Act.ADD, 1, 0, None)
    assert judge([lost, get(1, 2, 1)]) is Verdict.LINEARIZABLE
    assert judge([lost, get(1, 2, 2)]) is Verdict.IMPOSSIBLE


def test_swap() -> None:
    """A swap writes only over what it expects, and both see what was there."""
    swap = Operation(2, 3, Act.SWAP, 9, 7, 7)
    assert judge([put(0, 1, 7, 0), swap, get(4, 5, 9)]) is Verdict.LINEARIZABLE
    assert judge([put(0, 1, 8, 0), swap, get(4, 5, 9)]) is Verdict.IMPOSSIBLE


def test_what_is_too_much_is_said() -> None:
    """A search without an end in sight is given up, and not taken for an answer."""
    lost = [Operation(0, NEVER, Act.ADD, 1 << at, 0, None) for at in range(20)]
    assert judge([*lost, get(1, 2, 1 << 30)]) is Verdict.UNDECIDED
