"""Bricks that are full: what is damaged on them is mended all the same, and removing gives the room back."""

import os
from collections.abc import Callable

import pytest

from tests.mount.bricks import BRICKS, make_files, wait_until_protected, wrong
from tests.mount.volume import Volume, run, wait_until

pytestmark = [
    pytest.mark.mount,
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes a small file system"),
]

_BRICK_MIB = 64


@pytest.fixture(name="small")
def mount_small(volumes: Callable[[], Volume]) -> Volume:
    """Six bricks on devices of their own, of 64 MiB each."""
    volume = volumes()
    arguments: list[str] = []
    for number in range(BRICKS):
        path = volume.root / f"disk{number}"
        path.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={_BRICK_MIB}m,mode=700", "dwfs-test", path)
        volume.devices.append(path)
        arguments += ["--brick", str(path)]
    volume.mount(*arguments)
    return volume


def test_a_full_volume_heals_and_can_be_emptied(small: Volume) -> None:
    """ENOSPC; then a tenth of all shards is deleted; they come back within the reserve; rm works."""
    files = make_files(small.path, 6, 40)
    done = run("dd", "if=/dev/urandom", f"of={small.path / 'large'}", "bs=1M", "count=2000", "conv=fsync", check=False)
    assert "No space left on device" in done.stderr
    shards = sorted(path for device in small.devices for path in (device / "shards").glob("*/*"))
    for path in shards[::10]:
        path.unlink()
    small.ask("scrub start", "--wait", check=False)
    wait_until_protected(small)
    assert sum(path.exists() for path in shards) == len(shards)
    assert wrong(files) == []
    small.assert_sound()
    (small.path / "large").unlink()
    wait_until(lambda: os.statvfs(small.path).f_bavail * 4096 > 100 << 20, "the room has come back")
    (small.path / "small").write_bytes(os.urandom(5 << 20))
    small.assert_sound()
