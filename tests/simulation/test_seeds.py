"""Seeds: those that failed once, some that everybody runs, and new ones at every run."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.simulation import Report, simulate

_HERE = Path(__file__).resolve().parent
_SECONDS = float(os.environ.get("DWFS_TEST_SIM_S", "20"))
_KEPT = [int(line.split()[0]) for line in (_HERE / "seeds.txt").read_text().splitlines() if line[:1].isdigit()]
_FAULTS = (
    "clock jump",
    "full disk",
    "kill",
    "partition",
    "pause",
    "power cut",
    "rot",
    "rotten snapshot",
    "sync error",
    "transfer",
    "wipe",
)
_PATHS = ("follower's read round", "lease read", "read round", "snapshot installed", "snapshot taken")


def assert_well(reports: list[Report]) -> None:
    """No seed failed; or how to see it again."""
    failed = [f"scripts/sim --seeds {report.seed} --trace  # {report.failure}" for report in reports if report.failure]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("seed", _KEPT)
def test_seed_that_failed_once(seed: int) -> None:
    """A bug that the simulator found stays away."""
    assert_well([simulate(seed)])


def test_a_few_seeds() -> None:
    """Nothing is broken under faults, and everything goes on behind them."""
    assert_well([simulate(seed) for seed in range(4)])


@pytest.mark.slow
def test_what_should_happen_happens() -> None:
    """Every fault, every way to read and several changes under a partition occur: else the rest proves little."""
    reports = [simulate(seed) for seed in range(80)]
    assert_well(reports)
    happened = sum((Counter(report.happened) for report in reports), Counter[str]())
    assert set(happened) >= {*_FAULTS, *_PATHS}
    assert sum(report.changes_while_cut > 1 for report in reports) >= len(reports) // 10
    assert sum(report.terms > 3 for report in reports) > len(reports) // 2
    assert all(report.answered > 0 for report in reports)
    assert sum(report.undecided for report in reports) <= len(reports) // 20


@pytest.mark.slow
def test_new_seeds() -> None:
    """As many seeds as DWFS_TEST_SIM_S (20) seconds allow, others in every run; they are named, to be run again."""
    first = time.time_ns() // 1_000_000_000 * 1_000
    until = time.monotonic() + _SECONDS
    reports: list[Report] = []
    while time.monotonic() < until:
        reports.append(simulate(first + len(reports)))
    sys.stdout.write(f"\nscripts/sim --seeds {first}..{reports[-1].seed}\n")
    assert_well(reports)


@pytest.mark.slow
def test_a_seed_is_a_reproduction() -> None:
    """The same seed gives the same trace in another process, whatever Python's hashes are there."""
    traces: list[bytes] = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = (sys.executable, "-m", "tests.simulation.cli", "--seeds", "5..9", "--trace")
        run = subprocess.run(command, cwd=_HERE.parents[1], env=environment, capture_output=True, check=True)
        traces.append(run.stdout)
    assert traces[0] == traces[1]
    assert traces[0].count(b"\n") > 10_000
