"""Which bricks hold a mirror of the metadata (DESIGN D5): a pure choice.

Bricks on one device share its fate, so a mirror on the data folder's device, or on one that has a mirror already, is
chosen only when a number was asked for.
"""

from collections.abc import Collection, Mapping

from dwd.model.ids import BrickId


def choose_mirrors(
    devices: Mapping[BrickId, int], own_device: int, kept: Collection[BrickId], wanted: int, *, forced: bool
) -> list[BrickId]:
    """So many of the bricks (by the device of each) as are wanted and fit, those that are kept first.

    Without `forced` only bricks on devices of their own.
    """
    chosen: list[BrickId] = []
    used = {own_device}
    ranked = sorted(devices, key=lambda brick: (brick not in kept, brick))
    for brick in ranked:
        if len(chosen) < wanted and devices[brick] not in used:
            chosen.append(brick)
            used.add(devices[brick])
    if forced:
        chosen += [brick for brick in ranked if brick not in chosen][: wanted - len(chosen)]
    return chosen
