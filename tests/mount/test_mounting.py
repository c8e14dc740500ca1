"""Mounting and unmounting: options, fstab, the helper of mount(8), figures of df, and what umount promises."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.volume import Mount, Volume, dwfs, run, wait_until, wait_until_ended

pytestmark = pytest.mark.mount

MIB = 1 << 20
DAY_NS = 86_400 * 1_000_000_000


def _served_by(volume: Volume, mountpoint: Path) -> Mount:
    """The mount, as the daemon knows it."""
    wait_until(lambda: _mounts(volume).get(str(mountpoint)), f"{mountpoint} is connected", 10)
    return Mount(mountpoint, _mounts(volume)[str(mountpoint)])


def _mounts(volume: Volume) -> dict[str, int]:
    if volume.find_daemon() is None:
        return {}
    return {mount["label"]: mount["pid"] for mount in volume.ask("status")["mounts"]}


def test_umount_flushes_everything(volume: Volume) -> None:
    """What was written and never fsynced is there after dwfs umount, and after a plain umount(8) as well."""
    content = {f"file{number}": os.urandom(number * 997) for number in range(200)} | {"large": os.urandom(40 * MIB)}
    for unmount in (Volume.unmount, _umount_8):
        for name, text in content.items():
            (volume.path / name).write_bytes(text)
        unmount(volume)
        volume.stop_daemon()
        volume.mount()
        assert {path.name: path.read_bytes() for path in volume.path.iterdir()} == content
        run("find", volume.path, "-mindepth", "1", "-delete")
    volume.assert_sound()


def _umount_8(volume: Volume) -> None:
    mount = volume.mounts.pop(0)
    run("umount", mount.path)
    wait_until_ended(mount.pid)


def test_busy_umount_is_refused_and_lazy_works(volume: Volume) -> None:
    """A mount in use is not unmounted, with a clear word; --lazy takes it away."""
    with (volume.path / "open").open("wb") as file:
        refused = dwfs("umount", volume.path, check=False)
        assert refused.returncode == 3
        assert "is in use" in refused.stderr
        file.write(b"goes on")
    assert (volume.path / "open").read_bytes() == b"goes on"
    mount = volume.mounts[0]
    # With the last file closed the kernel ends the connection, and may not wait for the answer to its release.
    volume.announce(r"fuse_release\(\): fuse_reply_\* failed")
    with (volume.path / "open").open("ab") as file:
        dwfs("umount", "--lazy", volume.path)
        assert os.listdir(mount.path) == []
        file.write(b" and on")
    wait_until_ended(mount.pid)
    volume.mounts.clear()
    volume.mount()
    assert (volume.path / "open").read_bytes() == b"goes on and on"


def test_sigterm_to_the_mount_flushes(volume: Volume) -> None:
    """A mount that is told to end by a signal leaves nothing behind, and loses nothing."""
    (volume.path / "file").write_bytes(b"x" * 5 * MIB)
    mount = volume.mounts.pop(0)
    os.kill(mount.pid, 15)
    wait_until_ended(mount.pid)
    assert os.listdir(mount.path) == []
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"x" * 5 * MIB


def test_access_times(volumes: Callable[[], Volume]) -> None:
    """relatime, the default, renews an old access time once; noatime never; times survive a remount."""
    volume = volumes()
    path = volume.mount() / "file"
    path.write_bytes(b"content")
    now = time.time_ns()
    for options, renews in (((), True), (("-o", "relatime"), True), (("-o", "noatime"), False)):
        volume.remount(*options) if volume.mounts else volume.mount(*options)
        volume.options = ()
        os.utime(path, ns=(now - 2 * DAY_NS, now - 3 * DAY_NS))
        path.read_bytes()
        first = path.stat().st_atime_ns
        assert (first > now) == renews, options
        time.sleep(0.01)
        path.read_bytes()
        assert path.stat().st_atime_ns == first, "a new one is left alone"
        volume.remount(*options)
        assert path.stat().st_atime_ns == first


def test_read_only(volume: Volume) -> None:
    """-o ro reads everything and changes nothing, access times included."""
    path = volume.path / "file"
    path.write_bytes(b"content")
    os.utime(path, ns=(0, 0))
    volume.remount("-o", "ro")
    assert path.read_bytes() == b"content"
    assert path.stat().st_atime_ns == 0
    for change in (path.unlink, path.touch, (volume.path / "new").mkdir, lambda: path.write_bytes(b"")):
        with pytest.raises(OSError, match="Read-only file system"):
            change()
    volume.remount("-o", "rw")
    assert path.read_bytes() == b"content"


def test_sync_option(volume: Volume) -> None:
    """With -o sync every write is durable when it returns: kill -9 of both processes loses nothing."""
    volume.remount("-o", "sync")
    (volume.path / "dir").mkdir()
    with (volume.path / "dir" / "file").open("wb", buffering=0) as file:
        for number in range(50):
            file.write(f"{number:03}\n".encode())
    mount = volume.mounts.pop(0)
    os.kill(mount.pid, 9)
    volume.kill_daemon()
    dwfs("umount", mount.path)
    volume.mount()
    assert (volume.path / "dir" / "file").read_text(encoding="ascii").split() == [
        f"{number:03}" for number in range(50)
    ]


def test_options_reach_the_kernel(volume: Volume) -> None:
    """nosuid, nodev, noexec, fsname and noatime are what findmnt shows; the type is fuse.dwfs."""
    volume.remount("-o", "nosuid,nodev,noexec,noatime", "-o", "fsname=of-tests")
    shown = run("findmnt", "-no", "FSTYPE,SOURCE,OPTIONS", volume.path).stdout.split()
    assert shown[:2] == ["fuse.dwfs", "of-tests"]
    assert {"nosuid", "nodev", "noexec", "noatime", "default_permissions"} <= set(shown[2].split(","))
    program = volume.path / "program"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    with pytest.raises(PermissionError):
        subprocess.run([program], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="mount(8) mounts for root")
@pytest.mark.parametrize("way", ["type", "fstab"])
def test_mount_8(way: str, volumes: Callable[[], Volume]) -> None:
    """Mount -t fuse.dwfs, and a line in fstab, mount; options are honoured and unknown ones refused."""
    volume = volumes()
    mountpoint = volume.root / "mnt"
    mountpoint.mkdir()
    if way == "type":
        argv = ["mount", "-t", "fuse.dwfs", "-o", "noatime,nosuid", str(volume.data), str(mountpoint)]
    else:
        table = volume.root / "fstab"
        table.write_text(f"{volume.data} {mountpoint} fuse.dwfs noatime,nosuid,nofail,_netdev 0 0\n", encoding="ascii")
        argv = ["mount", "-T", str(table), str(mountpoint)]
    run(*argv)
    volume.mounts.append(_served_by(volume, mountpoint))
    assert run("findmnt", "-no", "FSTYPE,SOURCE", mountpoint).stdout.split() == ["fuse.dwfs", str(volume.data)]
    options = run("findmnt", "-no", "OPTIONS", mountpoint).stdout.strip().split(",")
    assert {"noatime", "nosuid"} <= set(options)
    (mountpoint / "file").write_bytes(b"content")
    run("umount", mountpoint)
    wait_until_ended(volume.pid)
    volume.mounts.clear()
    refused = run("mount", "-t", "fuse.dwfs", "-o", "nonsense", volume.data, mountpoint, check=False)
    assert refused.returncode == 32
    assert "nonsense" in refused.stderr
    volume.mount()
    assert (mountpoint / "file").read_bytes() == b"content"


def test_figures_of_df(volume: Volume) -> None:
    """Df shows what dwd status does; 64 MiB written are 64 MiB less, and come back when removed."""
    found = os.statvfs(volume.path)
    space = volume.ask("status")["space"]
    assert found.f_namemax == 255
    assert abs(found.f_blocks * found.f_frsize - space["total"]) < 256 * MIB  # others use the disk meanwhile
    assert abs(found.f_bavail * found.f_frsize - space["available"]) < 256 * MIB
    shown = re.split(r"\s+", run("df", "--output=fstype,size", "-B1", volume.path).stdout.splitlines()[1])
    assert shown[0] == "fuse.dwfs"
    assert abs(int(shown[1]) - space["total"]) < 256 * MIB
    with (volume.path / "file").open("wb") as file:
        file.write(os.urandom(64 * MIB))
        os.fsync(file.fileno())
    assert 64 * MIB <= volume.ask("status")["space"]["used"] < 66 * MIB
    assert int(run("du", "-B1", volume.path / "file").stdout.split()[0]) == 64 * MIB
    inodes = os.statvfs(volume.path)
    assert inodes.f_files - inodes.f_ffree == 2
    (volume.path / "file").unlink()
    wait_until(lambda: volume.ask("status")["space"]["used"] == 0, "its room is free again")
    bricks = volume.data / "bricks"
    wait_until(lambda: int(run("du", "-sm", bricks).stdout.split()[0]) < 8, "its shards are removed")


def test_mount_again_after_everything_was_killed(volume: Volume) -> None:
    """Kill -9 of daemon and mount: umount frees the dead mount point, and what was fsynced is there."""
    content = os.urandom(9 * MIB + 1)
    with (volume.path / "file").open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    (volume.path / "unsynced").write_bytes(b"x" * 1000)
    mount = volume.mounts.pop(0)
    os.kill(mount.pid, 9)
    volume.kill_daemon()
    with pytest.raises(OSError, match=r"Transport endpoint|connection abort"):
        os.listdir(mount.path)
    refused = dwfs("mount", "--data", volume.data, mount.path, check=False)
    assert refused.returncode == 3
    assert f"dwfs umount {mount.path}" in refused.stderr
    dwfs("umount", mount.path)
    volume.mount()
    assert (volume.path / "file").read_bytes() == content
    assert not (volume.path / "unsynced").exists() or (volume.path / "unsynced").read_bytes() in {b"", b"x" * 1000}
    volume.assert_sound()
