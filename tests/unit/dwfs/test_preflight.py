"""What keeps a mount from being tried."""

import errno
from pathlib import Path

import pytest

from dwfs import preflight
from dwfs.config import VolumeOptions
from dwfs.mounts import MountPoint
from dwfs.preflight import CannotMount, absolute, check_can_mount


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has all that it takes, and nothing mounted."""
    (tmp_path / "fuse").touch()
    monkeypatch.setattr(preflight, "_FUSE_DEVICE", tmp_path / "fuse")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/fusermount3").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(preflight, "find_mount", lambda path: None)
    (tmp_path / "m").mkdir()
    return tmp_path


def volume(machine: Path) -> VolumeOptions:
    """A volume elsewhere."""
    return VolumeOptions(machine / "data")


def test_an_existing_directory_will_do(machine: Path) -> None:
    """It need not be empty."""
    (machine / "m/x").touch()
    assert check_can_mount(machine / "m", volume(machine)) == machine / "m"


def test_a_mount_point_that_is_not_there_or_no_directory(machine: Path) -> None:
    """Each is named, with the remedy."""
    with pytest.raises(CannotMount, match="does not exist; make it"):
        check_can_mount(machine / "none", volume(machine))
    with pytest.raises(CannotMount, match="not a directory"):
        check_can_mount(machine / "fuse", volume(machine))


def test_a_mount_point_that_is_taken(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By us or by another FUSE file system."""
    monkeypatch.setattr(preflight, "find_mount", lambda path: MountPoint("0:1", path, "fuse.dwfs", "/data"))
    with pytest.raises(CannotMount, match=r"mounted already \(fuse.dwfs, /data\)"):
        check_can_mount(machine / "m", volume(machine))


def test_a_dead_mount_is_called_one(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking into it fails with ENOTCONN; dwfs umount frees it."""

    def is_alive_directory(path: Path) -> bool:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(preflight, "find_mount", lambda path: MountPoint("0:1", path, "fuse.dwfs", "/data"))
    monkeypatch.setattr(preflight, "_is_alive_directory", is_alive_directory)
    with pytest.raises(CannotMount, match=r"dead mount.*dwfs umount"):
        check_can_mount(machine / "m", volume(machine))


def test_a_machine_without_fuse(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device and the helper are missed each by name."""
    (machine / "bin/fusermount3").unlink()
    with pytest.raises(CannotMount, match="fusermount3 is not installed"):
        check_can_mount(machine / "m", volume(machine))
    monkeypatch.setattr(preflight, "_FUSE_DEVICE", machine / "none")
    with pytest.raises(CannotMount, match="none is not there"):
        check_can_mount(machine / "m", volume(machine))


def test_a_data_folder_that_cannot_be(machine: Path) -> None:
    """Inside the mount point, or with a path too long for a socket."""
    with pytest.raises(CannotMount, match="lies in the mount point"):
        check_can_mount(machine / "m", VolumeOptions(machine / "m/data"))
    with pytest.raises(CannotMount, match="too long for a socket"):
        check_can_mount(machine / "m", VolumeOptions(machine / ("d" * 120)))


def test_the_last_component_is_not_looked_into(tmp_path: Path) -> None:
    """It may be a dead mount; links on the way to it are followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute(tmp_path / "link/../link/m") == tmp_path / "real/m"
