"""The process of a mount: who may start it, where, in the foreground, and every way in which it ends."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.mount.volume import NOBODY, ROOT, Mount, Volume, dwd, dwfs, environment, is_alive, run, wait_until

pytestmark = pytest.mark.mount

MIB = 1 << 20
BUG = 70
_PATIENCE_S = 30
_WITH_A_BUG = """
import sys
from dwfs import cli
from dwfs.engine.namespace import Namespace

async def space(self):
    raise ValueError("a bug made for this test")

Namespace.space = space
sys.argv[0] = "dwfs"
sys.exit(cli.main())
"""


@attrs.define
class Foreground:
    """A mount process that the test started itself, with what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")


@pytest.fixture(name="foreground")
def start_in_foreground(volumes: Callable[[], Volume]) -> Iterator[Callable[..., tuple[Volume, Foreground]]]:
    """Runs `dwfs mount --foreground`, or a program in its place."""
    started: list[Foreground] = []

    def start(*program: str) -> tuple[Volume, Foreground]:
        volume = volumes()
        mountpoint = volume.root / "mnt"
        mountpoint.mkdir()
        log = volume.root / "stderr"
        command = [sys.executable, *(program or ("-m", "dwfs")), "mount", "--foreground", "--data", str(volume.data)]
        with log.open("wb") as output:
            process = subprocess.Popen([*command, str(mountpoint)], stderr=output, env=environment())
        started.append(Foreground(process, log))
        wait_until(lambda: "mounted at" in started[-1].text() or process.poll() is not None, "it is mounted")
        assert process.poll() is None, started[-1].text()
        volume.mounts.append(Mount(mountpoint, process.pid))
        volume.daemon()
        return volume, started[-1]

    yield start
    for mount in started:
        if mount.process.poll() is None:
            mount.process.kill()
        mount.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_mount_in_the_foreground(
    number: signal.Signals, foreground: Callable[..., tuple[Volume, Foreground]]
) -> None:
    """It flushes, unmounts and ends with 0; the log says why it ended."""
    volume, mount = foreground()
    content = os.urandom(5 * MIB)
    (volume.path / "file").write_bytes(content)
    mount.process.send_signal(number)
    assert mount.process.wait(_PATIENCE_S) == 0
    assert f"stopping: {number.name}" in mount.text()
    assert os.listdir(volume.path) == []
    volume.mounts.clear()
    volume.mount()
    assert (volume.path / "file").read_bytes() == content


def test_umount_ends_a_mount_in_the_foreground(foreground: Callable[..., tuple[Volume, Foreground]]) -> None:
    """With 0, and everything is there."""
    volume, mount = foreground()
    (volume.path / "file").write_bytes(b"content")
    dwfs("umount", volume.path)
    assert mount.process.wait(_PATIENCE_S) == 0
    volume.mounts.clear()
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"content"


def test_a_bug_ends_the_process_and_leaves_the_mount_dead(
    foreground: Callable[..., tuple[Volume, Foreground]],
) -> None:
    """Exit code 70, a trace in the log; programs see a dead mount, not the folder beneath; what was synced is kept."""
    volume, mount = foreground("-c", _WITH_A_BUG)
    with (volume.path / "file").open("wb", buffering=0) as file:
        file.write(b"content")
        os.fsync(file.fileno())
    with pytest.raises(OSError, match="abort") as raised:
        os.statvfs(volume.path)
    assert raised.value.errno == errno.ECONNABORTED
    assert mount.process.wait(_PATIENCE_S) == BUG
    assert "ValueError: a bug made for this test" in mount.text()
    with pytest.raises(OSError, match="not connected"):
        (volume.path / "another").touch()
    _assert_dead_and_freed(volume)
    assert (volume.path / "file").read_bytes() == b"content"


def test_a_killed_mount_is_named_and_freed(volume: Volume) -> None:
    """Also right after the kill, when the kernel still has the attributes of its root."""
    (volume.path / "file").write_bytes(b"content")
    run("sync", "-f", volume.path)
    os.stat(volume.path)
    os.kill(volume.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(volume.pid), "it has died")
    _assert_dead_and_freed(volume)


def _assert_dead_and_freed(volume: Volume) -> None:
    refused = dwfs("mount", "--data", volume.data, volume.path, check=False)
    assert refused.returncode == 3
    assert f"is a dead mount: its process is gone; free it with: dwfs umount {volume.path}" in refused.stderr
    dwfs("umount", volume.path)
    volume.mounts.clear()
    volume.mount()


@pytest.mark.parametrize(
    "name",
    [b"with space", b"not utf-8 \xff\xfe", "two\u2028lines\u00a0wide".encode(), b"tab\tand\nline", b"quote'\"\\,"],
    ids=["space", "bytes", "unicode", "control", "quotes"],
)
def test_a_mount_point_and_a_folder_with_any_name(name: bytes, volumes: Callable[[], Volume]) -> None:
    """Both are bytes: mounting, the daemon's restart, refusals and unmounting work."""
    outer = volumes()
    root = outer.root / os.fsdecode(name)
    root.mkdir()
    outer.data = root / "data"
    mountpoint = root / os.fsdecode(name)
    mountpoint.mkdir()
    done = json.loads(dwfs("mount", "--json", "--data", outer.data, mountpoint).stdout)
    outer.mounts.append(Mount(mountpoint, done["pid"]))
    (mountpoint / "file").write_bytes(b"content")
    again = json.loads(dwfs("mount", "--json", "--data", outer.data, mountpoint, check=False).stdout)
    assert "is mounted already" in again["error"]["message"]
    assert dwd("status", "--data", outer.data, "--json").returncode == 0
    outer.unmount()
    assert os.listdir(mountpoint) == []


def test_a_data_folder_with_a_long_path(volumes: Callable[[], Volume]) -> None:
    """Longer than the address of a unix socket; the daemon is found, and started again after its death."""
    volume = volumes()
    folder = volume.root / ("d" * 120) / ("e" * 120)
    mountpoint = volume.root / "mnt"
    mountpoint.mkdir()
    folder.mkdir(parents=True)
    volume.data.symlink_to(folder / "data")  # a short way to it for what this test itself connects to
    done = json.loads(dwfs("mount", "--json", "--data", folder / "data", mountpoint).stdout)
    volume.mounts.append(Mount(mountpoint, done["pid"]))
    (mountpoint / "file").write_bytes(b"content")
    first = volume.kill_daemon()
    (mountpoint / "more").write_bytes(b"content")
    assert (mountpoint / "file").read_bytes() == b"content"
    volume.wait_for_another_daemon(first)
    assert dwd("status", "--data", folder / "data").returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_a_user_mounts_for_himself(volumes: Callable[[], Volume]) -> None:
    """Through fusermount3, for nobody else; allow_other and the folder of another are refused with a clear word.

    In a mount namespace of its own, for there /dev/fuse can be given the mode that it has on Debian. The
    interpreter may lie where only root reads: the user may read everything, and write only what is his.
    """
    volume = volumes()
    home = volume.root / "home"
    (home / "mnt").mkdir(parents=True)
    for path in (home, home / "mnt"):
        os.chown(path, NOBODY, NOBODY)
    script = volume.root / "script"
    script.write_text(_AS_A_USER, encoding="ascii")
    words = ["unshare", "--mount", "--propagation", "private", "bash", str(script), str(home), sys.executable]
    done = run(*words, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "allow_other 3"
    assert said[1] == "foreign 3"
    assert said[2:] == ["mount 0", "content nobody", "others 2", "umount 0", "stop 0"]
    assert "allow_other is for root only, unless /etc/fuse.conf has a line user_allow_other" in done.stderr
    assert "/mnt is not yours" in done.stderr


_AS_A_USER = """
home=$1 python=$2
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
    mknod -m 666 "$home/fuse" c 10 229 && mount --bind "$home/fuse" /dev/fuse || exit 1
fi
as_user() {
    setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search \\
        env HOME="$home" XDG_RUNTIME_DIR= PYTHONDONTWRITEBYTECODE=1 "$@"
}
as_user "$python" -m dwfs mount --data "$home/data" -o allow_other "$home/mnt"; echo "allow_other $?"
as_user "$python" -m dwfs mount --data "$home/data" /mnt; echo "foreign $?"
as_user "$python" -m dwfs mount --data "$home/data" "$home/mnt"; echo "mount $?"
as_user sh -c "cd '$home/mnt' && echo content >file && echo \\$(cat file) \\$(stat -c %U file)"
ls "$home/mnt" >/dev/null 2>&1; echo "others $?"
as_user "$python" -m dwfs umount "$home/mnt"; echo "umount $?"
as_user "$python" -m dwd stop --data "$home/data" >/dev/null; echo "stop $?"
"""
