"""How much room a folder has, also one that is to be made yet."""

import os
from pathlib import Path

from dwd.adapters.brick_faults import brick_errors
from dwd.ports import BrickSpace


def room_of(folder: Path) -> BrickSpace:
    """The room of the file system that a folder is on, or will be. Blocks. Raises BrickFault."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    with brick_errors(folder, "see how much room it has"):
        found = os.statvfs(existing)
        device = existing.stat().st_dev
    return BrickSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, device)
