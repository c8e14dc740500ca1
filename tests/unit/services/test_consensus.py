"""Consensus on a real log and a real store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from dwd.adapters.sqlite_store import SqliteStore
from dwd.adapters.wal_file import FileWal, open_wal
from dwd.model.ids import LogIndex, NodeId, VolumeId
from dwd.namespace.commands import Command, MakeVolume, OpenEpoch
from dwd.namespace.outcomes import Done, Outcome
from dwd.namespace.state import State
from dwd.raft.node import Group, RaftNode
from dwd.raft.quorum import Voters
from dwd.raft.record import Recovery
from dwd.services.consensus import Consensus

VOLUME = VolumeId(b"v" * 16)
NODE = NodeId(1)


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[FileWal]:
    """An empty log."""
    log, _ = open_wal(tmp_path / "wal", VOLUME)
    yield log
    log.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty state store."""
    SqliteStore.create(tmp_path / "db", VOLUME)
    opened = SqliteStore.open(tmp_path / "db", VOLUME)
    yield opened
    opened.close()


@pytest.fixture
def consensus(wal: FileWal, store: SqliteStore) -> Consensus:
    """A group of one that leads, with a volume."""
    recovery = Recovery(drop_to=LogIndex(0))
    raft = RaftNode(Group(NODE, Voters(frozenset({NODE}))), recovery, LogIndex(0), lambda _: 0)
    made = Consensus(raft, recovery.positions, wal, store, State(store))
    made.start()
    _submit(made, Command(1, MakeVolume(1, 0, 0, 0o755)))
    return made


def _submit(consensus: Consensus, *commands: Command) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for command in commands:
        consensus.submit(command, outcomes.append)
    consensus.pump()
    return outcomes


def test_outcomes_come_in_order(consensus: Consensus) -> None:
    """A batch is one record, and each command gets its own outcome."""
    records = consensus.statistics().records
    assert _submit(consensus, *(Command(i, OpenEpoch()) for i in range(2, 5))) == [Done(value=i) for i in (1, 2, 3)]
    assert consensus.statistics().records == records + 1


async def test_a_barrier_returns_when_somebody_else_synced(consensus: Consensus, wal: FileWal) -> None:
    """A flush of the store, or a new file of the log, syncs too: who waits is told although nothing is left to sync."""
    _submit(consensus, Command(2, OpenEpoch()))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            returned = trio.Event()

            async def wait() -> None:
                await consensus.barrier()
                returned.set()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            wal.sync()
            nursery.start_soon(consensus.run)
            await returned.wait()
            nursery.cancel_scope.cancel()
    assert consensus.is_durable


async def test_a_flush_lets_the_log_forget(consensus: Consensus, wal: FileWal, store: SqliteStore) -> None:
    """What the store has for good is not kept in memory, and a second start needs only the rest."""
    for i in range(2, 50):
        _submit(consensus, Command(i, OpenEpoch()))
    await consensus.flush()
    statistics = consensus.statistics()
    assert statistics.durable == statistics.last == store.durable_index
    assert statistics.pending_rows == 0
    assert statistics.synced_records == statistics.records


async def test_clients_wait_while_the_store_is_behind(consensus: Consensus, store: SqliteStore) -> None:
    """With too much pending, catch_up() returns only after a flush."""
    store.put(b"large", bytes(65 << 20))
    _submit(consensus, Command(2, OpenEpoch()))
    assert consensus.is_behind
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consensus.run)
            await consensus.catch_up()
            assert not consensus.is_behind
            nursery.cancel_scope.cancel()
