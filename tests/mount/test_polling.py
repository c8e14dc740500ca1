"""The wait of dwfs.polling in the installed pyfuse3, on a real mount; and that an idle mount rests."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mount.volume import Volume, environment, run, wait_until

pytestmark = pytest.mark.mount

_IDLE_S = 3.0
_IDLE_SHARE_MAX = 0.01
_TINY = """
import errno, os, stat, sys
import pyfuse3, trio
from dwfs import polling
from dwfs.watch import Watch

class Tiny(pyfuse3.Operations):
    async def getattr(self, inode, ctx=None):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_nlink = inode, stat.S_IFDIR | 0o755, 2
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

waits = 0
real = polling.RequestWait.wait
async def counted(self):
    global waits
    waits += 1
    return await real(self)
polling.RequestWait.wait = counted
if sys.argv[2] == "without":
    polling._FUNCTION = "no_such_name"
pyfuse3.init(Tiny(), sys.argv[1], {"fsname=tiny"})
installed = polling.install(Watch())
print("mounted", installed, flush=True)
trio.run(pyfuse3.main)
pyfuse3.close()
print("waits", waits, flush=True)
"""


@pytest.mark.parametrize("way", ["with", "without"])
def test_pyfuse3_takes_the_wait_that_it_is_given(way: str, tmp_path: Path) -> None:
    """It looks the name up at every request; where there is no such name, it works as it did."""
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    command = [sys.executable, "-c", _TINY, str(mountpoint), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().split() == ["mounted", str(way == "with")]
            for _ in range(200):
                mountpoint.stat()
        finally:
            run("umount", mountpoint)
        waits = int(process.stdout.readline().split()[1])
    assert process.returncode == 0
    assert waits > 200 if way == "with" else waits == 0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_mount_rests(volume: Volume) -> None:
    """Also after a burst of requests: less than one hundredth of a core."""
    for number in range(300):
        (volume.path / f"file{number}").write_bytes(b"content")
    wait_until(lambda: volume.ask("status")["space"]["used"] > 0, "what was written is stored")
    time.sleep(1.5)
    before = _cpu_s(volume.pid)
    time.sleep(_IDLE_S)
    assert _cpu_s(volume.pid) - before <= _IDLE_SHARE_MAX * _IDLE_S
