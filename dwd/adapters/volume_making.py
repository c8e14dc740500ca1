"""Make a volume in an empty data folder, or open the one that is there: identity, bricks, and their protection.

A volume in the making has its identity first, marked so: what a power cut interrupts, the next start finishes.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dwd.adapters.brick_directory import BrickDirectory, create_brick, open_brick
from dwd.adapters.brick_identity import check_unused
from dwd.adapters.data_folder import DataFolder
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.errors import BadConfig, BrickFault, DwError
from dwd.model.ids import BrickId, NodeId, VolumeId
from dwd.model.protection import Protection, parse_protection

_BRICKS: Final = 6  # of a new volume for which nothing was said
_FIRST_NODE: Final = NodeId(1)
# The strongest that fits a number of bricks when nothing was said (D9): two may be lost where that is possible.
_FITTING: Final = {1: (1, 0), 2: (1, 1), 3: (1, 2), 4: (2, 2), 5: (3, 2)}
_WIDEST: Final = (4, 2)


def fitting_protection(bricks: int) -> Protection:
    """The default for so many bricks."""
    return Protection(*_FITTING.get(bricks, _WIDEST))


def plan_volume(data: Path, bricks: int | None, paths: Sequence[Path], protection: str | None) -> VolumeIdentity:
    """What a new volume in a data folder will be. Nothing is made yet.

    Raises:
        BadConfig: the protection needs more bricks than there are.
        VolumeMismatch, BrickFault: a folder cannot become a brick.
    """
    identity = _plan_identity(bricks, paths, protection)
    for place in identity.bricks:
        check_unused(data / place.path)
    return identity


def _plan_identity(bricks: int | None, paths: Sequence[Path], protection: str | None) -> VolumeIdentity:
    written = [str(path) for path in paths] or [f"bricks/{i}" for i in range(bricks or _BRICKS)]
    if len(set(written)) != len(written):
        raise BadConfig("a brick is named twice")
    chosen = fitting_protection(len(written)) if protection is None else parse_protection(protection)
    if chosen.width > len(written):
        raise BadConfig(
            f"protection {chosen.name} needs {chosen.width} bricks, and there are {len(written)}; "
            "add bricks or choose another"
        )
    places = tuple(BrickPlace(BrickId(i), path) for i, path in enumerate(written, 1))
    return VolumeIdentity(VolumeId(secrets.token_bytes(16)), _FIRST_NODE, time.time_ns(), chosen, places, made=False)


def check_same(
    identity: VolumeIdentity, folder: DataFolder, bricks: int | None, paths: Sequence[Path], protection: str | None
) -> None:
    """An existing volume is what it was made as; to ask for another is a mistake.

    Raises:
        BadConfig: it was made otherwise.
    """
    if protection is not None and parse_protection(protection) != identity.protection:
        raise BadConfig(
            f"the volume in {folder.path} was made with protection {identity.protection.name}, not {protection}"
        )
    if bricks is not None and bricks != len(identity.bricks):
        raise BadConfig(f"the volume in {folder.path} was made with {len(identity.bricks)} bricks, not {bricks}")
    here = {folder.brick(place.path).resolve() for place in identity.bricks}
    if paths and {path.resolve() for path in paths} != here:
        raise BadConfig(f"the volume in {folder.path} has other bricks: {', '.join(map(str, sorted(here)))}")


def make_bricks(folder: DataFolder, identity: VolumeIdentity) -> None:
    """Make every brick, or finish making it. Raises Fault, Refusal."""
    for place in identity.bricks:
        create_brick(folder.brick(place.path), identity.volume, place.id).close()


def open_bricks(folder: DataFolder, identity: VolumeIdentity, *, degraded: bool) -> Mapping[BrickId, BrickDirectory]:
    """Open the bricks; with `degraded` those that may be lost may be missing.

    Raises:
        BrickFault, VolumeMismatch, FormatTooNew: a brick is missing, another's, or cannot be written.
    """
    opened: dict[BrickId, BrickDirectory] = {}
    missing: list[DwError] = []
    try:
        for place in identity.bricks:
            try:
                opened[place.id] = open_brick(folder.brick(place.path), identity.volume, place.id)
            except BrickFault as fault:
                missing.append(fault)
        if missing and not degraded:
            raise BrickFault(f"{missing[0]} (to start without it all the same: --degraded)")
        if len(missing) > identity.protection.m:
            raise BrickFault(
                f"{len(missing)} bricks are missing, and protection {identity.protection.name} "
                f"bears the loss of {identity.protection.m}: {missing[0]}"
            )
    except DwError:
        for brick in opened.values():
            brick.close()
        raise
    return opened
