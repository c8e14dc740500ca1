"""Bricks on the real disk, and a small disk."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwd.adapters.brick_directory import BrickDirectory, create_brick
from tests.unit.adapters.brick import BRICK, VOLUME


@pytest.fixture
def brick(tmp_path: Path) -> Iterator[BrickDirectory]:
    """An empty brick on the real disk."""
    made = create_brick(tmp_path / "brick", VOLUME, BRICK)
    yield made
    made.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)
