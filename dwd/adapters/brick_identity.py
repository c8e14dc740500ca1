"""Which brick a folder is: its superblock, kept twice, written once when the brick is made.

Rules: a damaged copy is rewritten from the good one, but nothing is written over a page that a newer version
sealed. Nothing but an empty folder becomes a brick.
"""

import os
import secrets
import time
from pathlib import Path
from typing import Final

from dwd.adapters.brick_faults import brick_errors
from dwd.adapters.durable_files import create_file, make_directories, replace_file, sync_directory
from dwd.codec.page import PAGE_BYTES
from dwd.codec.superblock import Superblock, decode_superblock, encode_superblock
from dwd.model.errors import BrickFault, FormatTooNew, NoSpace, VolumeMismatch
from dwd.model.ids import BrickId, VolumeId
from dwd.wire.shown import shown_name

SHARDS: Final = "shards"
SHARD_FOLDERS: Final = 256

SUPERBLOCK: Final = "superblock"
_COPIES: Final = (SUPERBLOCK, "superblock.copy")
_PROBE: Final = "probe"
_DIRECTORY_MODE: Final = 0o700
# What an empty disk has, and what a making that was interrupted leaves
_NOT_FOREIGN: Final = frozenset({"lost+found", *(copy + ".new" for copy in _COPIES)})


def shard_directory(number: int) -> str:
    """The name of one of the 256 folders that shards are spread over."""
    return f"{number:02x}"


def make_brick(path: Path, volume: VolumeId, brick: BrickId) -> None:
    """Make an absent or empty folder a brick. Doing it again with the same identity finishes it.

    Raises:
        VolumeMismatch: the folder is another brick, or holds something else.
        BrickFault, NoSpace: it cannot be written.
    """
    with brick_errors(path, "create the brick"):
        make_directories(path)
        names = set(os.listdir(path)) - _NOT_FOREIGN
    if not names.isdisjoint(_COPIES):
        _check_identity(path, load_superblock(path), volume, brick)
    elif names:
        raise _not_empty(path, names)
    else:
        page = encode_superblock(Superblock(volume, brick, secrets.token_bytes(16), time.time_ns()))
        with brick_errors(path, "create the brick"):
            for copy in _COPIES:
                replace_file(path / copy, page)
    _make_shard_directories(path)


def check_unused(path: Path) -> None:
    """See that a folder is absent or empty: it can become a brick. Changes nothing.

    Raises:
        VolumeMismatch: it is a brick, or holds something else.
        BrickFault: it cannot be looked into.
    """
    if not path.exists():
        return
    with brick_errors(path, "create the brick"):
        names = set(os.listdir(path)) - _NOT_FOREIGN
    if names:
        raise _not_empty(path, names)


def _not_empty(path: Path, names: set[str]) -> VolumeMismatch:
    some = ", ".join(shown_name(os.fsencode(name)) for name in sorted(names)[:3])
    return VolumeMismatch(f"brick {path}: the folder is not empty (it holds {some}); name an empty or absent folder")


def check_brick(path: Path, volume: VolumeId, brick: BrickId) -> Superblock:
    """See that a folder is this brick, and that it can be written.

    Raises:
        VolumeMismatch: it is another brick.
        BrickFault: it is missing, damaged or read-only.
        FormatTooNew: a newer version made it.
    """
    superblock = load_superblock(path)
    _check_identity(path, superblock, volume, brick)
    _probe(path)
    _make_shard_directories(path)
    return superblock


def probe_brick(path: Path, expected: Superblock) -> None:
    """See that a folder is still the brick that was opened there; one good copy suffices. Changes nothing.

    Raises:
        VolumeMismatch: another brick lies in its place.
        BrickFault: it is gone, or cannot be read.
    """
    if not (path / SHARDS).is_dir():
        raise BrickFault(f"brick {path}: the folder is gone, or its shards are; mount its disk, or replace the brick")
    problems = []
    for copy in _COPIES:
        try:
            found = _read_copy(path / copy)
        except (OSError, BrickFault, FormatTooNew) as error:
            problems.append(f"{copy}: {error}")
            continue
        if found == expected:
            return
        raise VolumeMismatch(
            f"brick {path}: {expected} lay here, and now it is another ({found}); mount the right disk"
        )
    raise BrickFault(f"brick {path}: no superblock ({'; '.join(problems)}); mount its disk, or replace the brick")


def load_superblock(path: Path) -> Superblock:
    """Read both copies; mend one from the other."""
    if not path.is_dir():
        raise BrickFault(f"brick {path}: there is no such folder; mount its disk, or name the folder where it is now")
    good: list[Superblock] = []
    damaged: dict[str, str] = {}
    for copy in _COPIES:
        try:
            good.append(_read_copy(path / copy))
        except FileNotFoundError:
            damaged[copy] = "is missing"
        except OSError as error:
            damaged[copy] = f"cannot be read: {error.strerror}"
        except BrickFault as fault:
            damaged[copy] = str(fault)
        except FormatTooNew as refusal:
            raise FormatTooNew(
                f"brick {path}: {copy}: {refusal}; use the program that made it, or a newer one"
            ) from None
    if not good:
        reasons = "; ".join(f"{copy}: {reason}" for copy, reason in damaged.items())
        raise BrickFault(
            f"brick {path}: no superblock ({reasons}); if this is not the brick's disk, mount that one here"
        )
    if good[0] != good[-1]:
        raise VolumeMismatch(
            f"brick {path}: its superblocks disagree: {good[0]}, and {good[-1]}; restore the right one"
        )
    for copy in damaged:
        _mend(path, copy, good[0])
    return good[0]


def _read_copy(path: Path) -> Superblock:
    with path.open("rb") as file:
        return decode_superblock(file.read(PAGE_BYTES + 1))


def _mend(path: Path, copy: str, superblock: Superblock) -> None:
    try:
        with brick_errors(path, f"rewrite {copy}"):
            replace_file(path / copy, encode_superblock(superblock))
    except NoSpace:
        return  # one good copy suffices, and a full brick must still open


def _check_identity(path: Path, found: Superblock, volume: VolumeId, brick: BrickId) -> None:
    if (found.volume, found.brick) != (volume, brick):
        raise VolumeMismatch(
            f"brick {path}: this is {found}, but brick {brick} of volume {volume.hex()} belongs here; "
            "mount the right disk, or name the right folder"
        )


def _probe(path: Path) -> None:
    probe = path / _PROBE
    try:
        with brick_errors(path, "write to it"):
            probe.unlink(missing_ok=True)
            create_file(probe, [b"written at opening, to see that the brick is writable"])
            probe.unlink()
    except NoSpace:
        return  # a full brick must open: else nothing could be removed from it


def _make_shard_directories(path: Path) -> None:
    shards = path / SHARDS
    with brick_errors(path, "create its shard folders"):
        wanted = {shard_directory(number) for number in range(SHARD_FOLDERS)}
        make_directories(shards)
        missing = wanted.difference(os.listdir(shards))
        for name in missing:
            (shards / name).mkdir(mode=_DIRECTORY_MODE)
        if missing:
            sync_directory(shards)
