"""The project's own commands on real mounts: scripts/run, what it says to do next, and scripts/bench."""

import json
import os
import re
import subprocess
from collections.abc import Callable

import pytest

from tests.mount.volume import ROOT, Mount, Volume, run, wait_until_ended

pytestmark = [pytest.mark.mount, pytest.mark.slow]

_ROWS_MIN = 18


def test_run_twice_and_stop(volumes: Callable[[], Volume]) -> None:
    """scripts/run mounts and returns; again it says so and changes nothing; what it prints to try and to stop works."""
    volume = volumes()
    mountpoint = volume.root / "mnt"
    command = [ROOT / "scripts" / "run", "--data", volume.data, mountpoint]
    first = run(*command, timeout=600)
    assert f"Mounted at {mountpoint}." in first.stdout
    status = volume.ask("status")
    assert (status["protection"], len(status["bricks"])) == ("4+2", 6)
    volume.mounts.append(Mount(mountpoint, status["mounts"][0]["pid"]))
    (mountpoint / "file").write_bytes(b"content")
    second = run(*command, timeout=600)
    assert f"Already mounted at {mountpoint}." in second.stdout
    assert volume.ask("status")["mounts"][0]["pid"] == volume.pid
    assert _commands(second.stdout) == _commands(first.stdout)
    for line in _commands(first.stdout):
        run("sh", "-c", line, cwd=ROOT)
    assert volume.find_daemon() is None
    wait_until_ended(volume.pid, 5)
    volume.mounts.clear()
    assert f"Mounted at {mountpoint}." in run(*command, timeout=600).stdout
    volume.mounts.append(Mount(mountpoint, volume.ask("status")["mounts"][0]["pid"]))
    assert (mountpoint / "file").read_bytes() == b"content"
    assert (mountpoint / "bash").is_dir()


def _commands(text: str) -> list[str]:
    """The lines to try, and to stop, as printed."""
    lines = text.partition("Try it:")[2].splitlines()
    return [re.sub(r"  +\(.*\)$", "", line.strip()) for line in lines if line.startswith("    ")]


def test_run_says_what_is_wrong(volumes: Callable[[], Volume]) -> None:
    """A mount point that cannot be used is an error of scripts/run, too."""
    volume = volumes()
    (volume.root / "file").touch()
    done = run(ROOT / "scripts" / "run", "--data", volume.data, volume.root / "file", check=False, timeout=600)
    assert done.returncode == 3
    assert "is not a directory" in done.stderr
    assert not volume.data.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="cold rows need root")
def test_bench_on_a_mount(volume: Volume) -> None:
    """scripts/bench --quick gives every row as a figure, in JSON and as a table, and leaves nothing behind."""
    report = volume.root / "report.json"
    done = run(ROOT / "scripts" / "bench", "--quick", "--json", report, volume.path, timeout=300)
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert figures["skipped"] == {}
    assert figures["file_system"] == "fuse.dwfs"
    assert len(figures["rates"]) >= _ROWS_MIN
    for name, rate in figures["rates"].items():
        assert rate > 0, name
        assert name in done.stdout
    assert os.listdir(volume.path) == []
    assert subprocess.run(["findmnt", volume.path], check=False, capture_output=True).returncode == 0
    volume.assert_sound()
