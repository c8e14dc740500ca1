"""Paths on mounts as paths in the volume, over a mountinfo as the kernel writes it."""

from pathlib import Path

import pytest

from dwd.adapters.folder_room import room_of
from dwd.adapters.mounted_paths import path_in_volume

MOUNTINFO = rb"""22 1 8:1 / / rw - ext4 /dev/sda1 rw
40 22 0:50 / /absent/photos rw - fuse.dwfs /var/lib/dwfs rw
41 22 0:51 / /absent/other rw - fuse.dwfs /else rw
42 40 0:52 / /absent/photos/usb rw - ext4 /dev/sdb1 rw
43 22 0:50 /2026 /absent/this\040year rw - fuse.dwfs /var/lib/dwfs rw
44 22 0:53 / /absent/over rw - fuse.dwfs /var/lib/dwfs rw
45 22 0:54 / /absent/over rw - tmpfs none rw
"""
POINTS = (b"/absent/photos", b"/absent/over")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"/absent/photos", b"/"),
        (b"/absent/photos/", b"/"),
        (b"/absent/photos/a/b", b"/a/b"),
        (b"/absent/photos/a/../b", b"/b"),
        (b"/absent/photos/\xff", b"/\xff"),
        (b"/absent/photosynthesis", None),
        (b"/absent/photos/usb/a", None),  # another file system lies there
        (b"/absent/other/a", None),  # another volume
        (b"/absent/this year/may", b"/2026/may"),  # a bind mount of a part
        (b"/absent/over/a", None),  # something was mounted over it
        (b"/etc/passwd", None),
    ],
)
def test_a_path_on_a_mount(typed: bytes, expected: bytes | None) -> None:
    """The longest mount point that covers it counts, and of two at one place the later."""
    assert path_in_volume(typed, POINTS, MOUNTINFO) == expected


def test_links_on_the_way_are_followed_and_the_last_is_not(tmp_path: Path) -> None:
    """A link into the mount leads there; one that lies on the mount is meant itself."""
    mounted = tmp_path / "mnt"
    mounted.mkdir()
    (tmp_path / "way").symlink_to(mounted)
    (mounted / "link").symlink_to("/etc")
    line = b"40 22 0:50 / " + str(mounted).encode() + b" rw - fuse.dwfs data rw\n"
    points = (str(mounted).encode(),)
    assert path_in_volume(str(tmp_path / "way/link").encode(), points, line) == b"/link"


def test_the_kernels_own_list_is_read() -> None:
    """Nothing here is a mount of ours."""
    assert path_in_volume(b"/", (), None) is None


def test_room_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """That of the file system that it will be on."""
    room = room_of(tmp_path / "a/b/c")
    assert room.total >= room.free > 0
    assert room.device == tmp_path.stat().st_dev
