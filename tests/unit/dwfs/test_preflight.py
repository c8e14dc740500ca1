"""What keeps a mount from being tried."""

import os
from pathlib import Path

import pytest

from dwfs import preflight
from dwfs.config import MountOptions, VolumeOptions
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
    assert check_can_mount(machine / "m", volume(machine), MountOptions()) == machine / "m"


def test_a_mount_point_that_is_not_there_or_no_directory(machine: Path) -> None:
    """Each is named, with the remedy."""
    with pytest.raises(CannotMount, match="does not exist; make it"):
        check_can_mount(machine / "none", volume(machine), MountOptions())
    with pytest.raises(CannotMount, match="not a directory"):
        check_can_mount(machine / "fuse", volume(machine), MountOptions())


def test_a_mount_point_that_is_taken(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By us or by another FUSE file system."""
    monkeypatch.setattr(preflight, "find_mount", lambda path: MountPoint("0:1", path, "fuse.dwfs", "/data"))
    with pytest.raises(CannotMount, match=r"mounted already \(fuse.dwfs, /data\)"):
        check_can_mount(machine / "m", volume(machine), MountOptions())


def test_a_dead_mount_is_called_one(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dwfs umount frees it."""

    def is_dead(path: Path) -> bool:
        return True

    monkeypatch.setattr(preflight, "find_mount", lambda path: MountPoint("0:1", path, "fuse.dwfs", "/data"))
    monkeypatch.setattr(preflight, "_is_dead", is_dead)
    with pytest.raises(CannotMount, match=r"dead mount.*dwfs umount"):
        check_can_mount(machine / "m", volume(machine), MountOptions())


def test_a_machine_without_fuse(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device and the helper are missed each by name."""
    (machine / "bin/fusermount3").unlink()
    with pytest.raises(CannotMount, match="fusermount3 is not installed"):
        check_can_mount(machine / "m", volume(machine), MountOptions())
    monkeypatch.setattr(preflight, "_FUSE_DEVICE", machine / "none")
    with pytest.raises(CannotMount, match="none is not there"):
        check_can_mount(machine / "m", volume(machine), MountOptions())


def test_a_data_folder_that_cannot_be(machine: Path) -> None:
    """Inside the mount point."""
    with pytest.raises(CannotMount, match="lies in the mount point"):
        check_can_mount(machine / "m", VolumeOptions(machine / "m/data"), MountOptions())


def test_the_last_component_is_not_looked_into(tmp_path: Path) -> None:
    """It may be a dead mount; links on the way to it are followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert absolute(tmp_path / "link/../link/m") == tmp_path / "real/m"


def test_others_are_allowed_by_root_or_by_fuse_conf(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root needs a line in fuse.conf, which a comment is not; the message names both."""
    monkeypatch.setattr(os, "geteuid", lambda: (machine / "m").stat().st_uid + 1)
    monkeypatch.setattr(preflight, "_FUSE_CONF", machine / "fuse.conf")
    for said in (None, "#user_allow_other\n"):
        if said:
            (machine / "fuse.conf").write_text(said, encoding="ascii")
        with pytest.raises(CannotMount, match=r"allow_other is for root only.*fuse.conf has a line user_allow_other"):
            check_can_mount(machine / "m", volume(machine), MountOptions(allow_other=True))
    (machine / "fuse.conf").write_text("# yes\n user_allow_other \n", encoding="ascii")
    check_can_mount(machine / "m", volume(machine), MountOptions(allow_other=True))


def test_a_directory_of_somebody_else(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as /tmp: fusermount3 would refuse it, so we say so first."""
    (machine / "m").chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: (machine / "m").stat().st_uid + 1)
    with pytest.raises(CannotMount, match="is not yours"):
        check_can_mount(machine / "m", volume(machine), MountOptions())


def test_a_command_in_a_message_can_be_pasted(machine: Path) -> None:
    """A path with a space is quoted in it."""
    with pytest.raises(CannotMount, match=r"mkdir -p '.*/a b'"):
        check_can_mount(machine / "a b", volume(machine), MountOptions())
