"""The checks of what clients saw: each of them can fail."""

import pytest

from tests.simulation.history import History, Violation
from tests.simulation.registers import Act, Command, Outcome

WRITE = Command(1, 1, Act.PUT, 0, 7)
READ = Command(2, 1, Act.GET, 0, 0)


def test_good() -> None:
    """A write and a read that saw it pass."""
    history = History()
    write = history.begin(WRITE, 0)
    history.execute(3, WRITE, Outcome(3, 0))
    history.end(write, Outcome(3, 0), 1)
    history.end(history.begin(READ, 2), Outcome(3, 7), 3)
    assert history.search() == 0


def test_stale_read() -> None:
    """A read must not be served at an index before that of an answer that its client could have known of."""
    history = History()
    write = history.begin(WRITE, 0)
    history.execute(3, WRITE, Outcome(3, 0))
    history.end(write, Outcome(3, 0), 1)
    read = history.begin(READ, 2)
    with pytest.raises(Violation, match="StaleRead"):
        history.end(read, Outcome(2, 0), 3)


def test_stale_read_without_index() -> None:
    """The search finds the same without looking at indices."""
    history = History()
    write = history.begin(WRITE, 0)
    history.execute(3, WRITE, Outcome(3, 0))
    history.end(write, Outcome(3, 0), 1)
    read = history.begin(READ, 2)
    read.ended, read.outcome = 3, 0
    with pytest.raises(Violation, match="Linearizability"):
        history.search()


def test_twice() -> None:
    """A command must not act twice."""
    history = History()
    history.execute(3, WRITE, Outcome(3, 0))
    history.execute(4, WRITE, Outcome(3, 0))
    with pytest.raises(Violation, match="ExactlyOnce"):
        history.execute(5, WRITE, Outcome(5, 7))


def test_wrong_outcome() -> None:
    """What a command came to must be what a replay of the log says."""
    with pytest.raises(Violation, match="Replay"):
        History().execute(3, WRITE, Outcome(3, 1))


def test_answer_that_the_log_does_not_know() -> None:
    """A client must not hear of a command that no log has."""
    history = History()
    with pytest.raises(Violation, match="Replay"):
        history.end(history.begin(WRITE, 0), Outcome(3, 0), 1)


def test_before_its_time() -> None:
    """A command must not stand in the log before one that had been answered when it began."""
    history = History()
    other = Command(3, 1, Act.PUT, 1, 9)
    history.execute(3, WRITE, Outcome(3, 0))
    answered = history.begin(other, 0)
    history.execute(4, other, Outcome(4, 0))
    history.end(answered, Outcome(4, 0), 1)
    late = history.begin(WRITE, 2)
    with pytest.raises(Violation, match="RealTime"):
        history.end(late, Outcome(3, 0), 3)
