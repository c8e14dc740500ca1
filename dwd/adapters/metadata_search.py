"""Find a volume: by the identity in its data folder, or, if that is lost, by what its bricks say.

Nothing is changed here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import msgspec

from dwd.adapters.data_folder import holds_remains, read_identity
from dwd.adapters.metadata_mirror import MirrorFolder, brick_at, read_set
from dwd.codec.mirror_set import MirrorSet
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.errors import CorruptIdentity, VolumeMismatch
from dwd.model.ids import BrickId

_BRICKS = "bricks"


@attrs.frozen
class Found:
    """A volume, and what is known of its copies."""

    identity: VolumeIdentity
    newest: MirrorSet | None  # of all that say which copies count
    own: MirrorSet | None  # what the data folder says
    held: VolumeIdentity | None  # what the data folder's identity says; None: it is lost
    lost: str = ""  # what is wrong with it

    @property
    def counted(self) -> frozenset[BrickId]:
        """The mirrors that hold everything, as the newest set says."""
        return frozenset(() if self.newest is None else self.newest.bricks)

    @property
    def stale(self) -> bool:
        """Whether the volume went on without this data folder: what it holds is old."""
        return self.own is not None and self.newest is not None and self.own.generation < self.newest.generation


def find_volume(data: Path, named: Sequence[Path]) -> Found | None:
    """The volume of a data folder; where the folder has lost it, that of the named bricks, or of those below it.

    Raises:
        CorruptIdentity, FormatTooNew, VolumeMismatch: there is something, but no volume that can be opened.
    """
    failure: CorruptIdentity | VolumeMismatch | None = None
    identity: VolumeIdentity | None = None
    if data.is_dir():
        try:
            identity = read_identity(data)
        except (CorruptIdentity, VolumeMismatch) as error:
            if not holds_remains(data):
                raise
            failure = error
    own = read_set(data / "mirrors")
    if identity is not None:
        return _with_sets(data, identity, own)
    places = [*named] or sorted((data / _BRICKS).glob("*"))
    newest = max(_sets(places), key=lambda found: found.generation, default=None)
    if newest is None or not newest.identity.made:
        if failure is not None:
            raise failure
        return None
    volumes = {found.identity.volume for found in _sets(places)}
    if len(volumes) > 1:
        raise VolumeMismatch(f"the bricks are of {len(volumes)} volumes; name those of one")
    lost = str(failure) if failure is not None else f"{data} has no identity"
    return Found(_where_found(newest.identity, data, places), newest, None, None, lost)


def _with_sets(data: Path, identity: VolumeIdentity, own: MirrorSet | None) -> Found:
    places = [data / place.path for place in identity.bricks]
    sets = [found for found in (own, *_sets(places)) if found and found.identity.volume == identity.volume]
    newest = max(sets, key=lambda found: found.generation, default=None)
    if newest is not None and (own is None or own.generation < newest.generation):
        return Found(_where_found(newest.identity, data, places), newest, own, identity)
    return Found(_where_found(identity, data, places), newest, own, identity)


def _sets(places: Sequence[Path]) -> Iterator[MirrorSet]:
    for path in places:
        found = MirrorFolder.of(path).read_set()
        brick = brick_at(path)
        if found is not None and brick is not None and brick.volume == found.identity.volume:
            yield found


def _where_found(identity: VolumeIdentity, data: Path, places: Sequence[Path]) -> VolumeIdentity:
    """The identity with the paths where its bricks are now."""
    here = {(brick.volume, brick.brick): path for path in places if (brick := brick_at(path)) is not None}
    moved: list[BrickPlace] = []
    for place in identity.bricks:
        brick = brick_at(data / place.path)
        found = here.get((identity.volume, place.id))
        right = brick is not None and (brick.volume, brick.brick) == (identity.volume, place.id)
        moved.append(place if right or found is None else BrickPlace(place.id, _written(data, found)))
    return msgspec.structs.replace(identity, bricks=tuple(moved))


def _written(data: Path, path: Path) -> str:
    """Below the data folder a path is relative: the folder may be moved."""
    return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)
