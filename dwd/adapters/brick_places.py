"""Where the bricks of this node are, and changing it: the identity in the data folder, and its mirrors.

Rules: a folder is a brick before the identity names it. A change is whole or did not happen. These block, and
belong to one caller at a time.
"""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from dwd.adapters.brick_directory import create_brick
from dwd.adapters.brick_identity import check_unused
from dwd.adapters.data_folder import DataFolder
from dwd.adapters.mounted_paths import is_on_mount
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.errors import BadConfig
from dwd.model.ids import BrickId


class BrickPlaces:
    """The bricks that the identity of a data folder lists."""

    def __init__(self, folder: DataFolder, identity: VolumeIdentity, changed: Callable[[VolumeIdentity], None]) -> None:
        """`changed` is called when a new identity is in place."""
        self._folder = folder
        self._identity = identity
        self._changed = changed

    @property
    def identity(self) -> VolumeIdentity:
        """As it stands now."""
        return self._identity

    def path(self, id_: BrickId) -> Path:
        """A brick's folder. Raises BadConfig: there is no such brick here."""
        return self._folder.brick(self._place(id_).path)

    def add_place(self, path: Path, id_: BrickId) -> BrickPlace:
        """Make an absent or empty folder a brick, under an id that no brick of the volume ever had.

        Raises:
            BadConfig: the id or the folder is in use.
            VolumeMismatch: the folder is a brick already, or holds something else.
            BrickFault, NoSpace: it cannot be written.
        """
        if any(place.id == id_ for place in self._identity.bricks):
            raise BadConfig(f"there is a brick {id_} already")
        self._check_free(path)
        return self._make(path, id_, self._identity.bricks)

    def replace_place(self, id_: BrickId, path: Path) -> BrickPlace:
        """Let a brick be in another folder, absent or empty, from which nothing can be read yet.

        Raises:
            BadConfig: there is no such brick, or the folder is another's.
            VolumeMismatch: the folder is a brick already, or holds something else.
            BrickFault, NoSpace: it cannot be written.
        """
        before = self._place(id_)
        self._check_free(path, unless=before)
        return self._make(path, id_, tuple(place for place in self._identity.bricks if place.id != id_))

    def drop_place(self, id_: BrickId) -> None:
        """List a brick no longer; its folder stays as it is. Raises BadConfig: there is no such brick."""
        self._place(id_)
        self._put(tuple(place for place in self._identity.bricks if place.id != id_))

    def _make(self, path: Path, id_: BrickId, others: tuple[BrickPlace, ...]) -> BrickPlace:
        check_unused(path)
        create_brick(path, self._identity.volume, id_).close()
        made = BrickPlace(id_, self._written(path))
        self._put((*others, made))
        return made

    def _put(self, places: tuple[BrickPlace, ...]) -> None:
        places = tuple(sorted(places, key=lambda place: place.id))
        identity = msgspec.structs.replace(self._identity, bricks=places)
        self._folder.put_identity(identity)
        self._identity = identity
        self._changed(identity)

    def _written(self, path: Path) -> str:
        """Below the data folder a path is relative: the folder may be moved."""
        here = self._folder.path
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    def _place(self, id_: BrickId) -> BrickPlace:
        for place in self._identity.bricks:
            if place.id == id_:
                return place
        known = ", ".join(str(place.id) for place in self._identity.bricks)
        raise BadConfig(f"there is no brick {id_}; there are {known}")

    def _check_free(self, path: Path, unless: BrickPlace | None = None) -> None:
        """A brick shares its fate with nothing else of ours: no other brick, no metadata, no mount."""
        if is_on_mount(os.fsencode(path)):
            raise BadConfig(f"{path} is on a mount of dwfs itself: name a folder of a disk")
        real, data = path.resolve(), self._folder.path.resolve()
        for place in self._identity.bricks:
            other = self._folder.brick(place.path).resolve()
            if place != unless and other == real:
                raise BadConfig(f"{path} is brick {place.id} already")
            if other != real and (real.is_relative_to(other) or other.is_relative_to(real)):
                raise BadConfig(
                    f"{path} and brick {place.id} ({other}) lie one in the other and would be lost together"
                )
        for ours in (self._folder.wal, self._folder.store.parent):
            if real.is_relative_to(ours.resolve()):
                raise BadConfig(f"{path} is within the metadata of the volume: name another folder")
        if data.is_relative_to(real):
            raise BadConfig(f"{path} holds the data folder: name another folder")
