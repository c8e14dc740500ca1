"""Kill -9 at any moment: what fsync returned for is there, nothing is garbage, and the same mount goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.mount import crash_load
from tests.mount.crash_load import Board, Verdict
from tests.mount.volume import Volume, dwfs, environment, wait_until

pytestmark = [pytest.mark.mount, pytest.mark.slow]

_KILLS = int(os.environ.get("DWFS_TEST_KILLS", "50"))
_WORKERS = 4
_SEED = int(os.environ.get("DWFS_TEST_SEED", "20261123"))
_PAUSE_S_MAX = 0.5


@attrs.define(eq=False)
class Load:
    """Workers on one mount; journals lie beside it."""

    volume: Volume
    board: Board
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def start(self, seed: int) -> None:
        """All workers."""
        for slot in range(_WORKERS):
            argv = [
                sys.executable,
                crash_load.__file__,
                self.folder(slot),
                self.journal(slot),
                self.volume.root / "board",
            ]
            self.processes.append(subprocess.Popen([*map(str, argv), str(slot), str(seed + slot)], env=environment()))

    def folder(self, slot: int) -> Path:
        """On the mount."""
        return self.volume.root / "mnt" / f"w{slot}"

    def journal(self, slot: int) -> Path:
        """Outside."""
        return self.volume.root / f"journal{slot}"

    @property
    def in_flight(self) -> int:
        """Operations that have begun and not returned."""
        return sum(begun - ended for begun, ended, _, _ in map(self.board.slot, range(_WORKERS)))

    @property
    def done(self) -> int:
        """Operations that have returned."""
        return sum(self.board.slot(number)[1] for number in range(_WORKERS))

    @property
    def promises(self) -> int:
        """Fsyncs, and writes with O_SYNC, that have returned."""
        return sum(self.board.slot(number)[2] for number in range(_WORKERS))

    def wait_until_busy(self, *, since_done: int, since_promises: int) -> None:
        """Work was done and fsynced since then, and an operation is in flight right now."""
        wait_until(lambda: self.done > since_done + 20, "the workers get on", 30)
        wait_until(lambda: self.promises > since_promises, "something more has been fsynced", 30)
        wait_until(lambda: self.in_flight > 0, "an operation is in flight", 30)

    def finish(self) -> None:
        """Let every worker end its operation, and go; one that hangs is a failure."""
        self.board.stop()
        codes = [process.wait(60) for process in self.processes]
        assert codes == [0] * _WORKERS

    def check(self, *, everything: bool) -> list[Verdict]:
        """What the workers left."""
        return [
            crash_load.check(self.folder(slot), self.journal(slot), slot, everything=everything)
            for slot in range(_WORKERS)
        ]


@pytest.fixture
def load(volume: Volume) -> Iterator[Load]:
    """Workers that are gone at the end."""
    board = volume.root / "board"
    board.write_bytes(bytes(crash_load.BOARD_BYTES))
    made = Load(volume, Board(board))
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.wait(60)
    made.board.close()


def _assert_nothing_lost(verdicts: list[Verdict]) -> None:
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    assert not problems, "\n".join(problems[:20])


def test_garbage_is_not_taken_for_torn() -> None:
    """What the check forgives is one cut between two versions: no third one, no foreign byte, no hole in the middle."""
    old, new = bytes(range(1, 200)), bytes(range(2, 201))
    torn = crash_load._is_torn
    assert torn(new[:50] + old[50:], [old, new])
    assert torn(new[:50], [bytes(199), new])
    assert not torn(new[:50] + old[50:100] + new[100:], [old, new])
    assert not torn(new[:50] + b"\0" * 50 + new[100:], [bytes(199), new])
    assert not torn(new[:50] + b"?" + old[51:], [old, new])
    assert not torn(new[:50], [old, new])


def test_daemon_killed_at_random_moments(volume: Volume, load: Load) -> None:
    """Fifty times kill -9 of a busy daemon: 0 lost, 0 corrupt, no operation fails, fsck clean, the same mount."""
    chance = random.Random(_SEED)
    device, mount_pid = volume.path.stat().st_dev, volume.pid
    load.start(_SEED)
    daemons = {volume.daemon()}
    for _ in range(_KILLS):
        done, promises = load.done, load.promises
        time.sleep(chance.uniform(0, _PAUSE_S_MAX))
        load.wait_until_busy(since_done=done, since_promises=promises)
        killed = volume.kill_daemon()
        daemons.add(volume.wait_for_another_daemon(killed))
    load.finish()
    assert len(daemons) == _KILLS + 1
    assert volume.path.stat().st_dev == device
    assert [mount["pid"] for mount in volume.ask("status")["mounts"]] == [mount_pid]
    verdicts = load.check(everything=True)
    _assert_nothing_lost(verdicts)
    assert sum(verdict.promises for verdict in verdicts) > 5 * _KILLS
    volume.assert_sound()
    volume.remount()
    _assert_nothing_lost(load.check(everything=True))
    volume.assert_sound()


@pytest.mark.parametrize("number", range(3))
def test_daemon_and_mount_killed(number: int, volume: Volume, load: Load) -> None:
    """Kill -9 of both at a busy moment: what was fsynced is there, the rest is there or not, and nothing is garbage."""
    load.start(_SEED + 100 * number)
    chance = random.Random(number)
    time.sleep(chance.uniform(1, 2))
    load.wait_until_busy(since_done=0, since_promises=10)
    mount = volume.mounts.pop(0)
    daemon = volume.daemon()
    os.kill(mount.pid, signal.SIGKILL)  # first: else it would send again what the daemon has not
    os.kill(daemon, signal.SIGKILL)
    load.finish()  # each has met an error meanwhile
    dwfs("umount", mount.path)
    volume.mount()
    verdicts = load.check(everything=False)
    _assert_nothing_lost(verdicts)
    assert sum(verdict.promises for verdict in verdicts) > 10
    volume.assert_sound()
