"""The mirrors of an open volume's metadata: which there are, which there should be, and the steps from here to there.

Rules: a brick counts as a mirror only when its snapshot and its log from there are durable, and the new set of
those that count is written on the data folder and on every brick that is here. Every method that blocks says so.
"""

import logging
import os
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from dwd.adapters.data_folder import DataFolder
from dwd.adapters.metadata_mirror import MirrorFolder, brick_at, read_set
from dwd.adapters.metadata_search import Found
from dwd.adapters.wal_file import FileWal, begin_wal
from dwd.adapters.wal_mirrored import MirroredWal
from dwd.codec.mirror_set import MirrorSet
from dwd.codec.volume_identity import VolumeIdentity
from dwd.model.errors import BrickFault, CorruptStore, DwError, StoreFailed, WalFault
from dwd.model.ids import BrickId
from dwd.model.units import MIB
from dwd.placement.mirrors import choose_mirrors
from dwd.ports import MirrorPlan

_LOG_BYTES_MIN: Final = 64 * MIB  # a mirror's log may have so much, or half of the state store, before a new snapshot
_ROOM_BYTES: Final = 32 * MIB  # a brick with less beside two snapshots is not chosen
_REST_S: Final = 10.0  # before a brick is tried again that failed

_log = logging.getLogger(__name__)


class MetadataMirrors:
    """Implements ports.Mirrors."""

    def __init__(
        self, folder: DataFolder, found: Found, wal: MirroredWal, locks: dict[BrickId, int], wanted: int | None
    ) -> None:
        """`locks` are the copies that are owned. `wanted`: so many mirrors; None: as the volume was told before."""
        newest = found.newest
        self._folder = folder
        self._identity = found.identity
        self._wal = wal
        self._locks = locks
        self._said = newest  # what the disks say
        self._wanted = wanted if wanted is not None or newest is None else newest.wanted
        self._resting: dict[BrickId, float] = {}
        self._joining: dict[BrickId, tuple[int, bytes, FileWal | None]] = {}
        self._lost: dict[BrickId, str] = {}
        self._changing = threading.Lock()
        wal.publish_with(self._publish)
        wal.lost = self._note_lost

    @property
    def problems(self) -> tuple[str, ...]:
        """What status has to say of them."""
        missing = self._number - len(self._wal.counting)
        if missing <= 0:
            return ()
        lost = [f"brick {brick} lost its metadata mirror: {reason}" for brick, reason in sorted(self._lost.items())]
        if self._wanted is not None:
            lost.append(f"metadata is mirrored on {len(self._wal.counting)} bricks, and {self._number} are wanted")
        return tuple(lost)

    @property
    def _number(self) -> int:
        return self._identity.protection.m + 1 if self._wanted is None else self._wanted

    # ---- the set of those that count ----

    def begin(self, lost: Mapping[BrickId, str]) -> None:
        """Say on the disks what opening has changed, and what a kill kept some from hearing. Blocks."""
        self._lost.update(lost)
        said = self._said
        if said is None and self._wanted is None:
            return
        known = [read_set(self._folder.set), *(folder.read_set() for folder in self._here().values())]
        if said is None or said != self._as_set(said.generation) or any(found != said for found in known):
            self._change()

    def identity_changed(self, identity: VolumeIdentity) -> None:
        """Mirror the new identity, too. Blocks. Raises StoreFailed."""
        self._identity = identity
        if self._said is not None:
            self._change()

    def _change(self) -> None:
        for brick in self._publish():
            self._wal.drop(brick, "the set of mirrors could not be written there")

    def _publish(self) -> Collection[BrickId]:
        """Write a new generation everywhere; returns those that count and would not take it."""
        with self._changing:
            said = self._as_set(1 if self._said is None else self._said.generation + 1)
            self._folder.put_set(said)
            written = {brick for brick, folder in self._here().items() if self._write_set(brick, folder, said)}
            self._said = said
            return set(said.bricks) - written

    def _as_set(self, generation: int) -> MirrorSet:
        return MirrorSet(generation, tuple(sorted(self._wal.counting)), self._wanted, self._identity)

    def _write_set(self, brick: BrickId, folder: MirrorFolder, said: MirrorSet) -> bool:
        try:
            self._lock(brick, folder)
            folder.write_set(said)
        except DwError as failure:
            _log.warning("the set of metadata mirrors could not be written on brick %d: %s", brick, failure)
            return False
        return True

    def _lock(self, brick: BrickId, folder: MirrorFolder) -> None:
        """Own a brick's copy, if we do not. A folder that was made anew has a new lock."""
        held = self._locks.get(brick)
        if held is not None and folder.is_locked_by(held):
            return
        self._locks[brick] = folder.lock()
        if held is not None:
            os.close(held)

    def unlock(self) -> None:
        """Let other daemons own the copies."""
        for descriptor in self._locks.values():
            os.close(descriptor)

    # ---- what there should be ----

    def survey(self) -> MirrorPlan:
        """Look at every brick, drop mirrors that have gone, and say what is to be done. Blocks.

        Raises:
            WalFault, StoreFailed: the data folder's log or state store has gone, and there are mirrors to restore it
                from: the process must end.
        """
        if self._wal.counting:
            self._wal.own.check_there()
            self._check_store()
        here = self._here()
        self._check_followers(here)
        counting, following = self._wal.counting, self._wal.following
        self._tidy(here, following)
        able = self._able(here, counting)
        chosen = choose_mirrors(
            able, self._folder.space().device, counting, self._number, forced=self._wanted is not None
        )
        return MirrorPlan(
            leave=tuple(sorted(following.difference(chosen))),
            join=tuple(brick for brick in chosen if brick not in following),
            renew=tuple(b for b in chosen if b in counting and not self._rests(b) and self._has_long_log(b)),
        )

    def _able(self, here: Mapping[BrickId, MirrorFolder], counting: Collection[BrickId]) -> dict[BrickId, int]:
        """The bricks that may be mirrors, with their devices."""
        able: dict[BrickId, int] = {}
        for brick, folder in here.items():
            path = folder.path.parent
            with suppress(OSError):  # gone since we looked: the next look finds it so
                if brick in counting or (not self._rests(brick) and self._has_room(path)):
                    able[brick] = path.stat().st_dev
        return able

    def _rests(self, brick: BrickId) -> bool:
        return self._resting.get(brick, 0) > time.monotonic()

    def _paths(self) -> dict[BrickId, Path]:
        return {place.id: self._folder.brick(place.path) for place in self._identity.bricks}

    def _here(self) -> dict[BrickId, MirrorFolder]:
        """The bricks that are in their places."""
        return {
            brick: MirrorFolder.of(path)
            for brick, path in self._paths().items()
            if (found := brick_at(path)) and (found.volume, found.brick) == (self._identity.volume, brick)
        }

    def _check_followers(self, here: Mapping[BrickId, MirrorFolder]) -> None:
        for brick in self._wal.counting:
            try:
                if brick not in here:
                    raise BrickFault("the brick is not there")
                here[brick].check_there()
                copy = self._wal.copy_of(brick)
                if copy is not None:
                    copy.check_there()
            except DwError as failure:
                self._wal.drop(brick, str(failure))
        if self._said is not None and set(self._said.bricks) != self._wal.counting:
            self._wal.sync()  # which makes durable who counts

    def _tidy(self, here: Mapping[BrickId, MirrorFolder], following: Collection[BrickId]) -> None:
        """Tell bricks that were away who counts, and free what they hold that does not count any more."""
        said = self._said
        for brick, folder in here.items():
            if said is None or brick in following:
                continue
            if folder.read_set() != said and not self._write_set(brick, folder, said):
                continue
            if not folder.is_clear():
                _log.info("brick %d held a metadata mirror that does not count any more: removed", brick)
                self._clear(folder)

    def _clear(self, folder: MirrorFolder) -> None:
        try:
            folder.clear()
        except DwError as failure:
            _log.warning("%s", failure)

    def _has_room(self, path: Path) -> bool:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize >= 2 * self._store_bytes() + _ROOM_BYTES

    def _has_long_log(self, brick: BrickId) -> bool:
        copy = self._wal.copy_of(brick)
        return copy is not None and copy.file_bytes > max(_LOG_BYTES_MIN, self._store_bytes() // 2)

    def _store_bytes(self) -> int:
        self._check_store()
        return self._folder.store.stat().st_size

    def _check_store(self) -> None:
        if not self._folder.store.exists():
            raise StoreFailed(f"{self._folder.store} has gone while it was in use")

    # ---- the steps ----

    def leave(self, brick: BrickId) -> None:
        """End a mirror that is not wanted there any more."""
        _log.info("brick %d is no metadata mirror any more", brick)
        self._wal.release(brick)
        self._lost.pop(brick, None)

    def begin_joining(self, brick: BrickId, cut: bytes) -> None:
        """Keep every record from now on for a new mirror; `cut` stands for all before. Never blocks."""
        self._joining[brick] = (self._wal.queue(brick), cut, None)

    def fill(self, brick: BrickId) -> bool:
        """Begin the new mirror's log. Blocks; False: it is given up."""
        first, cut, _ = self._joining[brick]
        folder = MirrorFolder.of(self._paths()[brick])
        try:
            self._lock(brick, folder)
            folder.clear()
            wal = begin_wal(folder.wal, self._identity.volume, first)
            self._joining[brick] = (first, cut, wal)
            wal.append(cut)
            self._wal.fill(brick, wal)
        except DwError as failure:
            self._give_up(brick, str(failure))
            return False
        return True

    def follow(self, brick: BrickId) -> bool:
        """Give the new mirror every record from now on. False: it is given up."""
        _, _, wal = self._joining[brick]
        if wal is not None and self._wal.follow(brick, wal):
            del self._joining[brick]
            return True
        self._give_up(brick, "it could not keep up")
        return False

    def _give_up(self, brick: BrickId, reason: str) -> None:
        _log.error("brick %d cannot become a metadata mirror: %s", brick, reason)
        self._wal.give_up(brick)
        _, _, wal = self._joining.pop(brick)
        if wal is not None:
            wal.abandon()
        self._note_lost(brick, reason)

    def admit(self, brick: BrickId) -> None:
        """Give the new mirror its snapshot, of what the state store has flushed; then it counts. Blocks."""
        try:
            self._take_snapshot(brick)
        except (BrickFault, CorruptStore) as failure:
            self._wal.drop(brick, str(failure))
            return
        if self._wal.admit(brick):
            self._lost.pop(brick, None)
            _log.info("brick %d is a metadata mirror now", brick)

    def renew(self, brick: BrickId, position: int) -> None:
        """Take a new snapshot; then the mirror's log may forget what lies before a record. Blocks.

        Where that fails the mirror stays: the snapshot that it has and its log are whole, and it may be the
        state store's file that cannot be read.
        """
        copy = self._wal.copy_of(brick)
        if copy is None:
            return
        try:
            self._take_snapshot(brick)
        except (BrickFault, CorruptStore) as failure:
            _log.error("the metadata mirror on brick %d could not take a new snapshot: %s", brick, failure)
            self._resting[brick] = time.monotonic() + _REST_S
            return
        try:
            copy.forget_before(position)
        except WalFault as failure:
            self._wal.drop(brick, str(failure))

    def _take_snapshot(self, brick: BrickId) -> None:
        self._check_store()
        MirrorFolder.of(self._paths()[brick]).take_snapshot(self._folder.store, self._identity.volume)

    def _note_lost(self, brick: BrickId, reason: str) -> None:
        self._lost[brick] = reason
        self._resting[brick] = time.monotonic() + _REST_S
