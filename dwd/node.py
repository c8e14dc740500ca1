"""A node: the services of an open volume, connected, from its data folder; here alone do adapters meet services.

open_node() builds it in the order in which one thing needs the other, and takes it down again.
"""

import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

import attrs
import msgspec
import trio

from dwd.adapters.brick_directory import BrickDirectory, open_brick
from dwd.adapters.brick_places import BrickPlaces
from dwd.adapters.data_folder import DataFolder
from dwd.adapters.folder_room import room_of
from dwd.adapters.metadata_opening import OpenMetadata, open_metadata
from dwd.adapters.metadata_search import Found, find_volume
from dwd.adapters.sqlite_snapshot import open_snapshot
from dwd.adapters.sqlite_store import SqliteStore
from dwd.adapters.unix_socket import peer_of
from dwd.adapters.volume_making import check_same, make_bricks, open_bricks, plan_volume
from dwd.adapters.wall_clock import SystemClock
from dwd.codec.volume_identity import VolumeIdentity
from dwd.config import ServeOptions, program_version
from dwd.gateways.mount_rpc import MountServices
from dwd.model.checks import invariant
from dwd.model.errors import CorruptStore
from dwd.model.ids import BrickId
from dwd.model.tiers import Policy
from dwd.model.topology import Standing, default_domain
from dwd.namespace.commands import MakeVolume, PutBrick
from dwd.namespace.state import State
from dwd.namespace.store import Store
from dwd.raft.node import Group, RaftNode
from dwd.raft.quorum import Voters
from dwd.services import pace
from dwd.services.administration import Administration, NodeFacts
from dwd.services.brick_operations import BrickOperations
from dwd.services.brick_register import BrickRegister
from dwd.services.brick_replacing import BrickReplacing
from dwd.services.bricks import Bricks
from dwd.services.claims import Claims
from dwd.services.consensus import Consensus
from dwd.services.converting import Converter
from dwd.services.ejecting import Ejector
from dwd.services.fsck import Fsck
from dwd.services.garbage import GarbageCollector
from dwd.services.healing import Healer
from dwd.services.metadata import Metadata
from dwd.services.mirroring import Mirroring
from dwd.services.mounts import Mounts
from dwd.services.moving import Mover
from dwd.services.orphans import Orphanage
from dwd.services.pacing import Budget, Pacer
from dwd.services.protecting import Protecting
from dwd.services.questions import Questions
from dwd.services.reading import FileReader
from dwd.services.refitting import Refitter
from dwd.services.rehousing import Rehousing
from dwd.services.repacker import Repacker
from dwd.services.scrub import DAY_S, Scrubber
from dwd.services.segments import Segments
from dwd.services.snapshots import Snapshots
from dwd.services.space import SpaceKeeper
from dwd.services.storing import FileWriter
from dwd.serving import Answering

_log = logging.getLogger("dwd")
_SEED_BITS = 63
_ROOT_MODE = 0o755
_STOP_S_MAX = 20.0


@attrs.frozen
class Node:
    """The services of an open volume."""

    identity: VolumeIdentity
    consensus: Consensus
    bricks: Bricks
    mounts: Mounts
    garbage: GarbageCollector
    orphans: Orphanage
    repacker: Repacker
    mirroring: Mirroring
    ejector: Ejector
    converter: Converter
    mount_services: MountServices
    answering: Answering

    async def run(self) -> None:
        """The background work; the first failure ends it all."""
        answering = self.answering
        answering.mover.balance()  # one that was interrupted goes on
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run_for_fsck)
            for service in (self.repacker, self.mirroring, self.ejector, self.converter):
                nursery.start_soon(service.run)
            for mending in (answering.healer, answering.mover, answering.scrubber):
                nursery.start_soon(mending.run)

    async def run_for_fsck(self) -> None:
        """What a volume needs that is only looked at."""
        async with trio.open_nursery() as nursery:
            for service in (self.consensus, self.bricks, self.orphans, self.mounts, self.garbage):
                nursery.start_soon(service.run)


@asynccontextmanager
async def open_node(options: ServeOptions, *, existing: bool = False) -> AsyncIterator[Node]:
    """Open the volume of a data folder; without `existing`, make one where there is none.

    Raises:
        Refusal, Fault: it cannot be opened; nothing that was there has changed.
    """
    # What can be refused is refused before the first byte is written, the lock's file included.
    found = find_volume(options.data, options.brick_paths)
    if found is None and existing:
        raise CorruptStore(f"{options.data} holds no volume")
    planned = None if found else _planned(options)
    async with AsyncExitStack() as stack:
        folder = DataFolder.open(options.data)
        stack.callback(folder.close)
        found = find_volume(options.data, options.brick_paths) or _begun(folder, planned)
        identity = found.identity
        if found.held is not None and options.strict:
            check_same(identity, folder, options.bricks, options.brick_paths, options.protection)
        if not identity.made:
            make_bricks(folder, identity)
            folder.store.parent.mkdir(mode=0o700, exist_ok=True)
            if not folder.store.exists():
                SqliteStore.create(folder.store, identity.volume)
        elif found.held not in {None, identity}:
            _log.warning("bricks of %s have changed places; each is taken for what it says", identity.volume.hex())
            folder.put_identity(identity)
        bricks = open_bricks(folder, identity)
        for brick in bricks.values():
            stack.callback(brick.close)
        opened = stack.enter_context(open_metadata(folder, found, options.metadata_mirrors))
        if found.held != identity:
            opened.mirrors.identity_changed(identity)
        made = msgspec.structs.replace(identity, made=True)
        node = await _build(folder, made, bricks, opened, options.policy)
        stack.callback(node.bricks.close)
        if not identity.made:
            folder.put_identity(made)
            opened.mirrors.identity_changed(made)
        yield node
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOP_S_MAX):
            await node.consensus.flush()


def _begun(folder: DataFolder, planned: VolumeIdentity | None) -> Found:
    """A new volume, in the making. Raises CorruptStore: the volume that was there has gone."""
    if planned is None:
        raise CorruptStore(f"{folder.path} held a volume a moment ago, and now it holds none")
    folder.put_identity(planned)
    return Found(planned, None, None, planned)


def _planned(options: ServeOptions) -> VolumeIdentity:
    tier = None if options.tier is None else options.policy.protection
    return plan_volume(options.data, options.bricks, options.brick_paths, options.protection, tier)


async def _build(
    folder: DataFolder,
    identity: VolumeIdentity,
    here: Mapping[BrickId, BrickDirectory],
    opened: OpenMetadata,
    policy: Policy,
) -> Node:
    """Apply the log over the store, and connect the services."""
    wal, store, recovery = opened.wal, opened.store, opened.recovery
    group = Group(identity.node, Voters(frozenset({identity.node})))
    raft = RaftNode(group, recovery, store.applied_index, secrets.randbelow)
    state = State(store)
    consensus = Consensus(raft, recovery.positions, wal, store, state)
    consensus.start()
    metadata = Metadata(consensus, state, SystemClock())
    if not state.exists:
        await metadata.perform(MakeVolume(secrets.randbits(_SEED_BITS), os.geteuid(), os.getegid(), _ROOT_MODE))
    await metadata.begin_epoch()
    await trio.to_thread.run_sync(wal.sync)  # an epoch must never be given out twice, not even by a power cut
    places = BrickPlaces(folder, identity, opened.mirrors.identity_changed)
    bricks = await _known_bricks(Bricks(policy.level), metadata, places, here)
    return _connect(_Ground(folder, places, bricks, opened, policy), consensus, metadata)


async def _known_bricks(
    bricks: Bricks, metadata: Metadata, places: BrickPlaces, here: Mapping[BrickId, BrickDirectory]
) -> Bricks:
    """The bricks of this node, here or not, as the records have them; the first opening makes the records."""
    identity = places.identity
    for place in identity.bricks:
        brick = here.get(place.id)
        uuid = b"" if brick is None else brick.uuid
        record = metadata.state.find_brick(place.id)
        if record is None or (not record.uuid and uuid):
            domain = default_domain(identity.node).text
            await metadata.perform(PutBrick(place.id, uuid, identity.node, 1.0, Standing.ACTIVE, domain, ""))
            record = metadata.state.find_brick(place.id)
        invariant(record is not None, "K1", place)
        if record is None or record.standing is Standing.REMOVED:  # what a crash in the midst of removing leaves
            await trio.to_thread.run_sync(places.drop_place, place.id)
            continue
        path = places.path(place.id)
        reopen = partial(open_brick, path, identity.volume, place.id)
        if brick is not None and record.uuid in {b"", uuid}:
            bricks.attach(brick, record, reopen)
        else:
            what = "could not be opened at the start" if brick is None else "is another folder made for this brick"
            bricks.expect(record, reopen, f"{path} {what}")
    return bricks


@attrs.frozen
class _Background:
    """What keeps a volume as it is meant to be, on one budget."""

    pacer: Pacer
    repacker: Repacker
    healer: Healer
    mover: Mover
    scrubber: Scrubber
    garbage: GarbageCollector
    converter: Converter


def _background(
    metadata: Metadata,
    segments: Segments,
    space: SpaceKeeper,
    snapshot: Callable[[], AbstractContextManager[Store]],
    scrub_period_s: float,
) -> _Background:
    pacer = Pacer(Budget(), lambda: segments.counters.bytes_read + segments.counters.bytes_written)
    claims = Claims()
    rehousing = Rehousing(metadata, segments, claims, pacer)
    repacker = Repacker(metadata, segments)
    healer = Healer(metadata, segments, rehousing, repacker)
    segments.on_damage = healer.damaged
    refitter = Refitter(metadata, segments, repacker, pacer)
    return _Background(
        pacer=pacer,
        repacker=repacker,
        healer=healer,
        mover=Mover(metadata, segments, rehousing),
        scrubber=Scrubber(metadata, segments, refitter, pacer, SystemClock(), period_s=scrub_period_s),
        garbage=GarbageCollector(metadata, segments, space, claims),
        converter=Converter(metadata, segments, repacker, pacer, snapshot),
    )


@attrs.frozen
class _Ground:
    """What the services stand on."""

    folder: DataFolder
    places: BrickPlaces
    bricks: Bricks
    opened: OpenMetadata
    policy: Policy


def _connect(ground: _Ground, consensus: Consensus, metadata: Metadata) -> Node:
    folder, places, bricks, opened = ground.folder, ground.places, ground.bricks, ground.opened
    identity, store, mirrors = places.identity, opened.store, opened.mirrors
    snapshot = partial(open_snapshot, folder.store)
    segments = Segments(identity.volume, bricks, identity.protection)
    space = SpaceKeeper(bricks, identity.protection, folder.space, lambda: consensus.pending_bytes)
    orphans = Orphanage(metadata)
    mounts = Mounts(identity.volume, metadata, orphans, space)
    mounts.load()
    work = _background(metadata, segments, space, snapshot, ground.policy.scrub_days * DAY_S)
    repacker, healer, mover, scrubber = work.repacker, work.healer, work.mover, work.scrubber
    garbage, converter, pacer = work.garbage, work.converter, work.pacer
    fsck = Fsck(consensus, metadata, segments, garbage, store, snapshot)
    snapshots = Snapshots(consensus, snapshot)
    register = BrickRegister(metadata, segments, places, lambda id_: open_brick(places.path(id_), identity.volume, id_))
    rate = partial(pace.rate, pacer, healer)
    protecting = Protecting(register, converter, snapshots, identity.protection, rate)
    facts = NodeFacts(
        identity=identity,
        version=program_version(),
        pid=os.getpid(),
        started=trio.current_time(),
        wal_bytes=folder.wal_bytes,
        metadata_problems=lambda: mirrors.problems,
    )
    administration = Administration(
        facts,
        consensus,
        metadata,
        segments,
        space,
        mounts,
        orphans,
        garbage,
        repacker,
        store,
        register,
        protecting,
        healer,
    )
    reader = FileReader(metadata.state, segments)
    writer = FileWriter(metadata, segments, space)
    return Node(
        identity=identity,
        consensus=consensus,
        bricks=bricks,
        mounts=mounts,
        garbage=garbage,
        orphans=orphans,
        repacker=repacker,
        mirroring=Mirroring(consensus, mirrors),
        ejector=Ejector(metadata, bricks, identity.protection),
        converter=converter,
        mount_services=MountServices(metadata, mounts, orphans, reader, writer, space, lambda s: peer_of(s).pid),
        answering=Answering(
            administration,
            fsck,
            BrickOperations(register, mover, snapshots, rate, lambda: opened.wal.counting),
            BrickReplacing(register, mover, healer, snapshots, room_of, rate),
            Questions(register, healer, snapshots, rate),
            protecting,
            scrubber,
            healer,
            mover,
            pacer,
        ),
    )
