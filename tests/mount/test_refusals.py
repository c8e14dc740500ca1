"""What cannot be mounted is refused with a clear word and a stable exit code, and nothing is changed."""

import json
import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash

from tests.mount.volume import Completed, Volume, dwfs, environment, run, wait_until

pytestmark = pytest.mark.mount

USAGE, REFUSED, FAULT = 2, 3, 4


def _tree(folder: Path) -> dict[str, bytes]:
    """Everything below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(name="unmounted")
def not_mounted(volumes: Callable[[], Volume]) -> Volume:
    """A place for a volume, with an empty mount point."""
    volume = volumes()
    (volume.root / "mnt").mkdir()
    return volume


def _as_newer(identity: bytes) -> bytes:
    """The same file, as the next version would begin it."""
    magic, version, length = struct.unpack_from("<8sII", identity)
    fields = struct.pack("<8sII", magic, version + 1, length)
    return fields + xxhash.xxh3_64_intdigest(fields + identity[24:]).to_bytes(8, "little") + identity[24:]


def _mount(volume: Volume, *arguments: str | Path) -> Completed:
    return dwfs("mount", "--data", volume.data, *(arguments or (volume.root / "mnt",)), check=False)


def _assert_refused(done: Completed, code: int, *fragments: str) -> None:
    assert done.returncode == code, done.stderr
    assert not done.stdout
    for fragment in fragments:
        assert fragment in done.stderr
    assert "Traceback" not in done.stderr


def test_mount_point_is_absent(unmounted: Volume) -> None:
    """Says so, and how to make it; no volume is made."""
    _assert_refused(_mount(unmounted, unmounted.root / "none"), REFUSED, "none does not exist", "mkdir -p")
    assert not unmounted.data.exists()


def test_mount_point_is_a_file(unmounted: Volume) -> None:
    """Says that a directory is wanted."""
    (unmounted.root / "file").touch()
    _assert_refused(_mount(unmounted, unmounted.root / "file"), REFUSED, "file is not a directory")
    assert not unmounted.data.exists()


def test_mount_point_is_ours_already(volume: Volume) -> None:
    """Says what is there, and how to free it; the mount goes on."""
    (volume.path / "file").write_bytes(b"content")
    for data in (volume.data, volume.root / "another"):
        done = dwfs("mount", "--data", data, volume.path, check=False)
        _assert_refused(done, REFUSED, "is mounted already (fuse.dwfs", f"dwfs umount {volume.path}")
    assert (volume.path / "file").read_bytes() == b"content"
    assert not (volume.root / "another").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
def test_mount_point_with_another_file_system(unmounted: Volume) -> None:
    """Over another file system it mounts, as mount(8) does, and unmounting uncovers it."""
    below = unmounted.root / "mnt"
    run("mount", "-t", "tmpfs", "dwfs-test", below)
    try:
        (below / "covered").touch()
        unmounted.mount()
        assert os.listdir(below) == []
        unmounted.unmount()
        assert os.listdir(below) == ["covered"]
        done = dwfs("umount", below, check=False)
        _assert_refused(done, REFUSED, "a file system of type tmpfs is mounted there")
    finally:
        run("umount", below)


def test_umount_of_what_is_not_mounted(unmounted: Volume) -> None:
    """Says that nothing is mounted there."""
    _assert_refused(dwfs("umount", unmounted.root / "mnt", check=False), REFUSED, "nothing is mounted there")


@pytest.mark.skipif(os.getuid() != 0, reason="only root has namespaces of its own")
def test_no_fuse_device(unmounted: Volume) -> None:
    """Says that /dev/fuse is not there, and what to do."""
    script = 'mount -t tmpfs none /dev && exec "$@"'
    argv = [sys.executable, "-m", "dwfs", "mount", "--data", unmounted.data, unmounted.root / "mnt"]
    done = run("unshare", "-m", "sh", "-c", script, "sh", *argv, check=False)
    _assert_refused(done, REFUSED, "/dev/fuse is not there", "modprobe fuse")
    assert not unmounted.data.exists()


def test_no_fusermount3(unmounted: Volume) -> None:
    """Says which package has it."""
    done = dwfs(
        "mount", "--data", unmounted.data, unmounted.root / "mnt", check=False, env=environment() | {"PATH": "/nowhere"}
    )
    _assert_refused(done, REFUSED, "fusermount3 is not installed", "package fuse3")
    assert not unmounted.data.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "fragments"),
    [
        (["-o", "nonsense"], REFUSED, ["mount option 'nonsense' is unknown", "noatime"]),
        (["-o", "timeout=soon"], REFUSED, ["timeout='soon'"]),
        (["--protection", "4+x"], REFUSED, ["4+x"]),
        (["--protection", "RAID9"], REFUSED, ["RAID9"]),
        (["--bricks", "0"], REFUSED, ["--bricks 0"]),
        (["--bricks", "many"], USAGE, ["--bricks", "many"]),
        (["--bricks", "4", "--protection", "4+2"], REFUSED, ["4+2", "6"]),
        (["--bricks", "4", "--brick", "x"], USAGE, ["not allowed with"]),
        (["--nonsense"], USAGE, ["--nonsense"]),
    ],
)
def test_bad_options(arguments: list[str], code: int, fragments: list[str], unmounted: Volume) -> None:
    """Names the option and its value; nothing is made, and --json says the same."""
    _assert_refused(_mount(unmounted, *arguments, unmounted.root / "mnt"), code, *fragments)
    done = _mount(unmounted, "--json", *arguments, unmounted.root / "mnt")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == code
    assert all(fragment in error["message"] for fragment in fragments)
    assert not (unmounted.data / "identity").exists()


def test_data_folder_of_something_else(unmounted: Volume) -> None:
    """A folder with other files is not made a volume of, and its files are left alone."""
    unmounted.data.mkdir()
    (unmounted.data / "photos.jpg").write_bytes(b"mine")
    _assert_refused(_mount(unmounted), REFUSED, "photos.jpg", str(unmounted.data))
    assert _tree(unmounted.data)["photos.jpg"] == b"mine"
    assert not (unmounted.data / "bricks").exists()


def test_data_folder_is_a_file_or_below_the_mount_point(unmounted: Volume) -> None:
    """Each is named."""
    unmounted.data.write_bytes(b"a file")
    done = _mount(unmounted)
    assert done.returncode in {REFUSED, FAULT}
    assert str(unmounted.data) in done.stderr
    assert unmounted.data.read_bytes() == b"a file"
    unmounted.data.unlink()
    below = unmounted.root / "mnt" / "data"
    done = dwfs("mount", "--data", below, unmounted.root / "mnt", check=False)
    _assert_refused(done, REFUSED, "lies in the mount point")


def test_data_folder_of_a_newer_format(volume: Volume) -> None:
    """A volume that a newer version wrote is refused, untouched; put back, it works."""
    (volume.path / "file").write_bytes(b"content")
    volume.unmount()
    volume.stop_daemon()
    identity = volume.data / "identity"
    before = identity.read_bytes()
    identity.write_bytes(_as_newer(before))
    changed = _tree(volume.data / "bricks") | _tree(volume.data / "wal") | _tree(volume.data / "store")
    _assert_refused(_mount(volume), REFUSED, "format", "version")
    assert changed == _tree(volume.data / "bricks") | _tree(volume.data / "wal") | _tree(volume.data / "store")
    identity.write_bytes(before)
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("damage", ["missing", "read-only", "swapped"])
def test_bricks_that_are_not_as_they_were(damage: str, volume: Volume) -> None:
    """A brick that is missing, cannot be written, or lies in another's place: it is named, and every byte is there."""
    content = os.urandom(5 << 20)
    (volume.path / "file").write_bytes(content)
    volume.unmount()
    volume.stop_daemon()
    first, second, aside = (volume.data / "bricks" / name for name in ("0", "1", "aside"))
    match damage:
        case "missing":
            first.rename(aside)
        case "swapped":
            first.rename(aside), second.rename(first), aside.rename(second)
        case _:
            run("mount", "--bind", first, first)
            run("mount", "-o", "remount,ro,bind", first)
    volume.announce("brick")
    volume.mount()
    assert (volume.path / "file").read_bytes() == content
    status = volume.ask("status")
    if damage == "swapped":
        assert {each["id"]: each["path"] for each in status["bricks"]}[1] == str(second), "it is what it says it is"
        assert "have changed places" in "".join(volume.logs().values())
    else:
        assert status["state"] == "degraded"
        assert any(str(first) in problem for problem in status["problems"]), status["problems"]
    match damage:
        case "missing":
            assert not first.exists(), "an empty brick is not put in its place"
            aside.rename(first)
        case "read-only":
            run("umount", first)
        case _:
            pass
    wait_until(lambda: volume.ask("status")["state"] == "serving", "all is as it was")
    assert (volume.path / "file").read_bytes() == content
    volume.assert_sound()


def test_damaged_log(volume: Volume) -> None:
    """A tail that was cut off is recovered from; a flipped byte before it is refused, with its place, and kept."""
    for number in range(300):
        (volume.path / f"file{number}").write_bytes(b"content")
    killed = volume.mounts.pop(0)
    os.kill(killed.pid, 9)
    volume.kill_daemon()
    dwfs("umount", killed.path)
    copy = volume.root / "copy"
    shutil.copytree(volume.data / "wal", copy)
    log = max((volume.data / "wal").glob("*.wal"))
    raw = bytearray(log.read_bytes())
    end = len(bytes(raw).rstrip(b"\0"))
    assert end > 10_000
    flipped = end // 3
    raw[flipped] ^= 0x40
    log.write_bytes(raw)
    done = _mount(volume)
    assert done.returncode == FAULT
    assert log.name in done.stderr
    assert log.read_bytes() == raw, "it is neither skipped nor cut off"
    raw[flipped] ^= 0x40
    raw[end - 5 :] = bytes(len(raw) - end + 5)
    log.write_bytes(raw)
    volume.mount()
    assert len(os.listdir(volume.path)) >= 298
    volume.assert_sound()
