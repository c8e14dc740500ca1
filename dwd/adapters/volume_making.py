"""Make a volume in an empty data folder, or open the one that is there: identity, bricks, and their protection.

A volume in the making has its identity first, marked so: what a power cut interrupts, the next start finishes.
"""

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dwd.adapters.brick_directory import BrickDirectory, create_brick, open_brick
from dwd.adapters.brick_identity import check_unused
from dwd.adapters.data_folder import DataFolder
from dwd.adapters.metadata_mirror import brick_at
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.errors import BadConfig, BrickFault, DwError, VolumeMismatch
from dwd.model.ids import BrickId, NodeId, VolumeId
from dwd.model.protection import Protection, fitting, parse_protection

_log = logging.getLogger(__name__)
_BRICKS: Final = 6  # of a new volume for which nothing was said
_FIRST_NODE: Final = NodeId(1)
_DEFAULT: Final = Protection(4, 2)  # or the strongest that fits: two may be lost where that is possible


def plan_volume(
    data: Path, bricks: int | None, paths: Sequence[Path], protection: str | None, tier: Protection | None = None
) -> VolumeIdentity:
    """What a new volume in a data folder will be; `tier`: what the tier that was named means. Nothing is made yet.

    Raises:
        BadConfig: the protection needs more bricks than there are.
        VolumeMismatch, BrickFault: a folder cannot become a brick.
    """
    identity = _plan_identity(bricks, paths, protection, tier)
    for place in identity.bricks:
        check_unused(data / place.path)
    return identity


def _plan_identity(
    bricks: int | None, paths: Sequence[Path], protection: str | None, tier: Protection | None
) -> VolumeIdentity:
    """What a tier means stays wanted with fewer bricks; what is stored meanwhile is the strongest that fits."""
    least = _BRICKS if tier is None or protection is not None else max(_BRICKS, tier.width)
    written = [str(path) for path in paths] or [f"bricks/{i}" for i in range(bricks or least)]
    if len(set(written)) != len(written):
        raise BadConfig("a brick is named twice")
    chosen = tier or fitting(_DEFAULT, len(written)) if protection is None else parse_protection(protection)
    if protection is not None and chosen.width > len(written):
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


def open_bricks(folder: DataFolder, identity: VolumeIdentity) -> Mapping[BrickId, BrickDirectory]:
    """Open the bricks that are here: the others are left out, and the log says why.

    Raises:
        VolumeMismatch, FormatTooNew: a folder is another's brick, or a newer version's.
    """
    opened: dict[BrickId, BrickDirectory] = {}
    try:
        for place in identity.bricks:
            try:
                opened[place.id] = open_brick(folder.brick(place.path), identity.volume, place.id)
            except BrickFault as fault:
                _log.warning("started without brick %d: %s", place.id, fault)
            except VolumeMismatch as mismatch:
                there = brick_at(folder.brick(place.path))
                if there is None or there.volume != identity.volume:
                    raise
                _log.warning("started without brick %d: %s", place.id, mismatch)  # another of ours is in its place
    except DwError:
        for brick in opened.values():
            brick.close()
        raise
    return opened
