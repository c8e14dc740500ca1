"""What a leader may send a follower, and what it learns from replies that come late or doubled."""

from dwd.model.ids import LogIndex
from dwd.raft.progress import APPENDS_IN_FLIGHT_MAX, BYTES_IN_FLIGHT_MAX, SNAPSHOT_TICKS_MAX, Progress, ProgressState


def replicating(match: int) -> Progress:
    """A follower that has answered."""
    progress = Progress(LogIndex(match + 1))
    progress.accepted(LogIndex(match), LogIndex(0))
    return progress


def test_probe_sends_one_message_until_something_is_heard() -> None:
    """A follower that may be down is not flooded."""
    progress = Progress(LogIndex(5))
    progress.sent(LogIndex(9), 100)
    assert (progress.paused, progress.next) == (True, 5)
    progress.answered_heartbeat()
    assert not progress.paused


def test_pipeline_is_bounded_and_moves_on_with_replies() -> None:
    """A full pipeline waits; a reply frees all that it covers, a heartbeat's answer one place."""
    progress = replicating(0)
    for index in range(1, APPENDS_IN_FLIGHT_MAX + 1):
        assert not progress.paused
        progress.sent(LogIndex(index), 100)
    assert progress.paused
    progress.answered_heartbeat()
    assert not progress.paused
    progress.sent(LogIndex(APPENDS_IN_FLIGHT_MAX + 1), 100)
    assert progress.accepted(LogIndex(10), LogIndex(0))
    assert (progress.paused, progress.match) == (False, 10)


def test_late_and_doubled_replies_change_nothing() -> None:
    """Match never falls, and a rejection of what is known to match is of the past."""
    progress = replicating(7)
    assert not progress.accepted(LogIndex(3), LogIndex(0))
    assert not progress.rejected(LogIndex(6), LogIndex(0))
    assert (progress.match, progress.next, progress.state) == (7, 8, ProgressState.REPLICATE)


def test_rejection_returns_to_probing_behind_what_matches() -> None:
    """After a rejection the leader looks for the meeting point, never before what it knows."""
    progress = replicating(7)
    progress.sent(LogIndex(20), 100)
    assert progress.rejected(LogIndex(20), LogIndex(2))
    assert (progress.next, progress.state, progress.paused) == (8, ProgressState.PROBE, False)
    probing = Progress(LogIndex(10))
    assert not probing.rejected(LogIndex(4), LogIndex(1))
    assert probing.rejected(LogIndex(9), LogIndex(5))
    assert probing.next == 6


def test_pipeline_is_bounded_in_bytes_too() -> None:
    """Few large messages fill it as many small ones do, and their replies empty it."""
    progress = replicating(0)
    progress.sent(LogIndex(1), BYTES_IN_FLIGHT_MAX // 2)
    assert not progress.paused
    progress.sent(LogIndex(2), BYTES_IN_FLIGHT_MAX // 2)
    assert progress.paused
    progress.accepted(LogIndex(1), LogIndex(0))
    assert not progress.paused


def test_snapshot_state_ends_by_report_by_answer_and_by_time() -> None:
    """Whatever is lost, a follower is asked again where it stands."""
    for end in ("ok", "failed", "unreachable", "answer", "time"):
        progress = Progress(LogIndex(5))
        progress.snapshot_sent(LogIndex(20))
        assert (progress.state, progress.paused) == (ProgressState.SNAPSHOT, True)
        match end:
            case "ok" | "failed":
                progress.snapshot_ended(ok=end == "ok")
            case "unreachable":
                progress.unreachable()
            case "answer":
                progress.accepted(LogIndex(20), LogIndex(15))
            case _:
                for _ in range(SNAPSHOT_TICKS_MAX):
                    progress.tick()
        assert progress.next == (21 if end in ("ok", "answer") else 1)
        progress.answered_heartbeat()
        assert not progress.paused


def test_late_answers_do_not_end_the_snapshot_state() -> None:
    """They were sent before, and speak of a log that does not reach the leader's."""
    progress = Progress(LogIndex(5))
    progress.snapshot_sent(LogIndex(20))
    assert not progress.rejected(LogIndex(4), LogIndex(2))
    assert progress.accepted(LogIndex(3), LogIndex(15))
    progress.answered_heartbeat()
    assert (progress.state, progress.paused) == (ProgressState.SNAPSHOT, True)


def test_message_lost_for_certain_starts_probing() -> None:
    """What was sent behind it cannot be taken either."""
    progress = replicating(7)
    progress.sent(LogIndex(20), 100)
    progress.unreachable()
    assert (progress.state, progress.next, progress.paused) == (ProgressState.PROBE, 8, False)
