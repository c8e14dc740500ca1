import pytest

from dwd.model.ids import BrickId
from dwd.placement.health import (
    CALM_S,
    ERRORS_WINDOW_S,
    SLOW_HOLD_S,
    SUSPECT_S_MAX,
    BrickHealth,
    Verdict,
    peer_medians,
)

PEERS = 0.004  # seconds


def work(brick: BrickHealth, start: int, seconds: int, latency: float = PEERS, failed: str | None = None) -> None:
    """An operation and a judgement each second."""
    for now in range(start, start + seconds):
        brick.observe(now, latency, failed)
        brick.judge(now, PEERS)


def test_sound_brick_stays_healthy() -> None:
    """Years of work prove nothing against it."""
    brick = BrickHealth(0)
    work(brick, 0, 2000)
    assert (brick.health.verdict, brick.health.evidence) == (Verdict.HEALTHY, "")


def test_errors_are_evidence() -> None:
    """Three within a minute make a suspect, and the verdict says what happened."""
    brick = BrickHealth(0)
    for now in (10, 20, 29):
        assert brick.judge(now, None).verdict is Verdict.HEALTHY
        brick.observe(now, 0.1, "EIO reading shard 7")
    health = brick.judge(30, None)
    assert health.verdict is Verdict.SUSPECTED
    assert health.evidence == "3 errors within 20 s, the last: EIO reading shard 7"


def test_rare_errors_are_forgiven() -> None:
    """Bad sectors found now and then do not make a brick suspect."""
    brick = BrickHealth(0)
    for now in range(0, 3000, int(ERRORS_WINDOW_S)):
        brick.observe(now, PEERS, "EIO")
        assert brick.judge(now, PEERS).verdict is Verdict.HEALTHY


def test_slow_brick_is_suspected_after_a_while() -> None:
    """Twenty times slower than its peers, for ten seconds; a burst is forgiven."""
    brick = BrickHealth(0)
    work(brick, 0, 100)
    work(brick, 100, 60, latency=20 * PEERS)
    assert brick.health.verdict is Verdict.SUSPECTED
    assert "and its peers need 4.0 ms" in brick.health.evidence
    assert brick.health.since > 100 + SLOW_HOLD_S


@pytest.mark.parametrize(("latency", "peers"), [(0.04, 0.0001), (7 * PEERS, PEERS), (1.0, None)])
def test_slowness_needs_contrast(latency: float, peers: float | None) -> None:
    """What is quick enough, only some times slower, or without peers to compare with, is not suspect."""
    brick = BrickHealth(0)
    for now in range(200):
        brick.observe(now, latency, None)
        assert brick.judge(now, peers).verdict is Verdict.HEALTHY


def test_few_operations_tell_nothing() -> None:
    """A handful of slow ones are no evidence."""
    brick = BrickHealth(0)
    work(brick, 0, 31, latency=5.0)
    assert brick.latency is None
    assert brick.health.verdict is Verdict.HEALTHY


def test_trust_comes_back_after_good_work_only() -> None:
    """Silence does not clear a suspect; two minutes of successes do, and then old errors are forgotten."""
    brick = BrickHealth(0)
    work(brick, 0, 3, failed="EIO")
    assert brick.judge(300, PEERS).verdict is Verdict.SUSPECTED
    work(brick, 300, 29)
    verdicts = [brick.health.verdict]
    work(brick, 329, 2)
    verdicts.append(brick.health.verdict)
    assert verdicts == [Verdict.SUSPECTED, Verdict.HEALTHY]
    brick.observe(331, PEERS, "EIO")
    assert brick.judge(331, PEERS).verdict is Verdict.HEALTHY


def test_does_not_flap() -> None:
    """A brick that fails every minute stays suspect from the first verdict on: no turn to and fro."""
    brick = BrickHealth(0)
    work(brick, 0, 3, failed="EIO")
    verdicts = set()
    for start in range(3, int(SUSPECT_S_MAX) - 60, 60):
        work(brick, start, 59)
        work(brick, start + 59, 1, failed="EIO")
        verdicts.add(brick.health.verdict)
    assert verdicts == {Verdict.SUSPECTED}


def test_lasting_suspect_is_ejected_for_good() -> None:
    """Ten minutes without getting better; nothing makes up for it afterwards. The evidence is kept."""
    brick = BrickHealth(0)
    work(brick, 0, int(SUSPECT_S_MAX) + 10, failed="ETIMEDOUT")
    assert brick.health.verdict is Verdict.EJECTED
    assert "suspected for 600 s" in brick.health.evidence
    assert "ETIMEDOUT" in brick.health.evidence
    work(brick, 1000, 1000)
    assert brick.health.verdict is Verdict.EJECTED


def test_third_relapse_within_an_hour_is_the_last() -> None:
    """A brick that is well only while it is spared does not come back for ever."""
    brick = BrickHealth(0)
    for start in (0, 200, 400):
        assert brick.health.verdict is Verdict.HEALTHY
        work(brick, start, 3, failed="EIO")
        work(brick, start + 3, int(CALM_S) + 1)
    assert brick.health.verdict is Verdict.EJECTED
    assert brick.health.evidence.startswith("suspected 3 times within 400 s, now for: 3 errors")


def test_relapses_far_apart_are_forgiven() -> None:
    """A brick that is suspected twice a day stays in use."""
    brick = BrickHealth(0)
    for start in range(0, 20_000, 2000):
        work(brick, start, 3, failed="EIO")
        work(brick, start + 3, int(CALM_S) + 1)
        assert brick.health.verdict is Verdict.HEALTHY


def test_old_evidence_ejects_nobody() -> None:
    """A suspect that nobody asks any more stays suspected."""
    brick = BrickHealth(0)
    work(brick, 0, 3, failed="EIO")
    assert brick.judge(10_000, PEERS).verdict is Verdict.SUSPECTED


def test_suspect_that_recovers_late_is_not_ejected() -> None:
    """Good work counts also after ten minutes."""
    brick = BrickHealth(0)
    work(brick, 0, 590, failed="EIO")
    work(brick, 700, int(CALM_S))
    assert brick.health.verdict is Verdict.HEALTHY


def test_peers_are_the_others() -> None:
    """Each brick is compared with the median of the others, if there are two; one that knows nothing counts not."""
    latencies = {BrickId(1): 0.1, BrickId(2): 0.2, BrickId(3): 9.0, BrickId(4): None}
    medians = peer_medians(latencies)
    assert medians == pytest.approx({1: 4.6, 2: 4.55, 3: 0.15, 4: 0.2})
    assert peer_medians({BrickId(1): 0.1, BrickId(2): 0.2}) == {1: None, 2: None}
