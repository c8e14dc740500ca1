"""What mountinfo says, and waiting for a mount's process."""

from pathlib import Path

import pytest

from dwfs import mounts


def test_a_mount_point_with_odd_bytes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel escapes spaces; the last of several mounts at one place is the one on top."""
    info = tmp_path / "mountinfo"
    info.write_text(
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "41 20 0:38 / /m\\040x rw,nosuid - fuse.other old rw\n"
        "42 20 0:39 / /m\\040x rw,nosuid shared:1 - fuse.dwfs /da\\040ta rw,user_id=0\n"
    )
    monkeypatch.setattr(mounts, "_MOUNTINFO", info)
    found = mounts.find_mount(Path("/m x"))
    assert found == mounts.MountPoint("0:39", Path("/m x"), "fuse.dwfs", "/da ta")
    assert mounts.find_mount(Path("/m")) is None


def test_umount_waits_for_the_process_that_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the lock is held the wait ends at its bound; then at once."""
    monkeypatch.setattr(mounts, "_lock_path", lambda path: tmp_path / path.name)
    lock = mounts.hold_lock(Path("/m"))
    assert not mounts.wait_until_served_no_more(Path("/m"), 0.01)
    lock.close()
    assert mounts.wait_until_served_no_more(Path("/m"), 0.01)
