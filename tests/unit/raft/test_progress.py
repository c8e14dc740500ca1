"""What a leader may send a follower, and what it learns from replies that come late or doubled."""

from dwd.model.ids import LogIndex
from dwd.raft.progress import APPENDS_IN_FLIGHT_MAX, Progress


def replicating(match: int) -> Progress:
    """A follower that has answered."""
    progress = Progress(LogIndex(match + 1))
    progress.accepted(LogIndex(match))
    return progress


def test_probe_sends_one_message_until_something_is_heard() -> None:
    """A follower that may be down is not flooded."""
    progress = Progress(LogIndex(5))
    progress.sent(LogIndex(9), empty=False)
    assert (progress.paused, progress.next) == (True, 5)
    progress.answered_heartbeat()
    assert not progress.paused


def test_pipeline_is_bounded_and_moves_on_with_replies() -> None:
    """A full pipeline waits; a reply frees all that it covers, a heartbeat's answer one place."""
    progress = replicating(0)
    for index in range(1, APPENDS_IN_FLIGHT_MAX + 1):
        assert not progress.paused
        progress.sent(LogIndex(index), empty=False)
    assert progress.paused
    progress.answered_heartbeat()
    assert not progress.paused
    progress.sent(LogIndex(APPENDS_IN_FLIGHT_MAX + 1), empty=False)
    assert progress.accepted(LogIndex(10))
    assert (progress.paused, progress.match) == (False, 10)


def test_late_and_doubled_replies_change_nothing() -> None:
    """Match never falls, and a rejection of what is known to match is of the past."""
    progress = replicating(7)
    assert not progress.accepted(LogIndex(3))
    assert not progress.rejected(LogIndex(6), LogIndex(0))
    assert (progress.match, progress.next, progress.replicating) == (7, 8, True)


def test_rejection_returns_to_probing_behind_what_matches() -> None:
    """After a rejection the leader looks for the meeting point, never before what it knows."""
    progress = replicating(7)
    progress.sent(LogIndex(20), empty=False)
    assert progress.rejected(LogIndex(20), LogIndex(2))
    assert (progress.next, progress.replicating, progress.paused) == (8, False, False)
    probing = Progress(LogIndex(10))
    assert not probing.rejected(LogIndex(4), LogIndex(1))
    assert probing.rejected(LogIndex(9), LogIndex(5))
    assert probing.next == 6
