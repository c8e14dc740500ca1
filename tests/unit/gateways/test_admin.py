"""The admin gateway over a real unix socket, with a handful of handlers."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import attrs
import msgspec
import pytest
import trio
import trio.testing

from dwd.adapters.admin_client import NotRunning, open_admin
from dwd.adapters.unix_socket import open_listener, peer_of
from dwd.codec.frame import FrameReader, encode_header
from dwd.gateways import admin
from dwd.gateways.admin import AdminGateway, Served, ShowProgress, serve_verb
from dwd.model.errors import BrickFault, DataBusy
from dwd.model.limits import CONNECTIONS_MAX
from dwd.wire.admin import (
    CALL_BYTES_MAX,
    Answer,
    AuditRecord,
    Failed,
    Peer,
    Progress,
    Result,
    decode_answer,
    encode_call,
)
from dwd.wire.reports import FsckReport, StatisticsReport, StopReport
from dwd.wire.verbs import FSCK, STATISTICS, STATUS, STOP, FsckRequest, StatisticsRequest, StatusRequest, StopRequest

SOCKET = "dwd.sock"


@attrs.define(eq=False)
class Node:
    """A daemon of which only the admin socket is there."""

    folder: Path
    audit: list[AuditRecord]
    wait: trio.Event
    cancelled: trio.Event

    def serve(self) -> tuple[Served, ...]:
        return (
            serve_verb(STATISTICS, self.statistics),
            serve_verb(STOP, self.stop),
            serve_verb(FSCK, self.fsck),
        )

    async def statistics(self, request: StatisticsRequest, _: ShowProgress) -> StatisticsReport:
        if request.component == "busy":
            raise DataBusy("declined")
        if request.component == "huge":
            return StatisticsReport(values={"x" * 2_000_000: 1})
        return StatisticsReport(values={f"{request.component}.records": 7})

    async def stop(self, _request: StopRequest, _: ShowProgress) -> StopReport:
        await self.wait.wait()
        return StopReport(was_running=True, pid=os.getpid())

    async def fsck(self, request: FsckRequest, show: ShowProgress) -> FsckReport:
        show(Progress(1, 2, "shards", "reading"))
        try:
            await self.wait.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        if request.metadata_only:
            raise BrickFault("brick 3 is gone")
        return FsckReport(
            inodes=1, entries=1, extents=0, segments=0, shards=0, bytes_verified=0, findings_total=0, findings=()
        )


@asynccontextmanager
async def running(
    folder: Path, *, owner_uid: int = -1, peer: Callable[[trio.SocketStream], Peer] = peer_of
) -> AsyncIterator[Node]:
    """A node whose gateway runs."""
    node = Node(folder, [], trio.Event(), trio.Event())
    gateway = AdminGateway(
        node.serve(), owner_uid=owner_uid, peer_of=peer, audit=node.audit.append, wall_clock_ns=lambda: 42
    )
    async with open_listener(folder, SOCKET) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(gateway.run, listener)
        yield node
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Client:
    """A caller that can also misbehave."""

    stream: trio.SocketStream
    reader: FrameReader = attrs.field(factory=FrameReader)

    async def send(self, correlation: int, body: bytes, claimed: int | None = None) -> None:
        await self.stream.send_all(encode_header(correlation, len(body) if claimed is None else claimed, 0) + body)

    async def answers(self, count: int) -> list[tuple[int, Answer]]:
        found: list[tuple[int, Answer]] = []
        while len(found) < count:
            received = await self.stream.socket.recv_into(self.reader.space())
            assert received, "the daemon hung up"
            found += [(frame.correlation, decode_answer(frame.body)) for frame in self.reader.received(received)]
        return found

    async def hung_up(self) -> bool:
        try:
            return await self.stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True


@asynccontextmanager
async def calling(folder: Path) -> AsyncIterator[Client]:
    """A connected caller."""
    async with await trio.open_unix_socket(str(folder / SOCKET)) as stream:
        yield Client(stream)


def statistics(component: str = "wal") -> bytes:
    """The body of a call."""
    return encode_call(STATISTICS, StatisticsRequest(component=component))


async def test_a_connection_carries_many_calls(tmp_path: Path) -> None:
    """Calls are answered in order, each with its own correlation, also when sent at once; each is audited."""
    async with running(tmp_path) as node, calling(tmp_path) as client:
        for number in range(1, 21):
            await client.send(number, statistics())
        answers = await client.answers(20)
    assert [correlation for correlation, _ in answers] == list(range(1, 21))
    assert all(isinstance(answer, Result) for _, answer in answers)
    mine = AuditRecord(42, os.getuid(), os.getpid(), "statistics", STATISTICS.audit, "ok")
    assert node.audit == [mine] * 20


async def test_refusals_become_answers(tmp_path: Path) -> None:
    """Refusal, unserved verb, wrong arguments, oversized report: each is answered by code, and the next call works."""
    wrong = msgspec.msgpack.encode([1, 1, "statistics", {"component": 7}])
    async with running(tmp_path) as node, calling(tmp_path) as client:
        await client.send(1, statistics("busy"))
        await client.send(2, encode_call(STATUS, StatusRequest()))
        await client.send(3, wrong)
        await client.send(4, statistics("huge"))
        await client.send(5, statistics())
        answers = [answer for _, answer in await client.answers(5)]
    codes = [answer.code for answer in answers if isinstance(answer, Failed)]
    assert codes == ["data-busy", "unknown-verb", "bad-request", "reply-too-large"]
    assert isinstance(answers[4], Result)
    assert [record.outcome for record in node.audit[:3]] == codes[:3]


@pytest.mark.parametrize(("uid", "owner", "allowed"), [(1000, 0, False), (0, 1000, True), (1000, 1000, True)])
async def test_who_may_operate(tmp_path: Path, uid: int, owner: int, allowed: bool) -> None:
    """Root and the daemon's user may do everything, others may only observe; a refusal is audited."""
    async with running(tmp_path, owner_uid=owner, peer=lambda _: Peer(9, uid, 9)) as node, calling(tmp_path) as client:
        node.wait.set()
        await client.send(1, statistics())
        await client.send(2, encode_call(STOP, StopRequest()))
        (_, observed), (_, stopped) = await client.answers(2)
    assert isinstance(observed, Result)
    assert isinstance(stopped, Result) is allowed
    if isinstance(stopped, Failed):
        assert stopped.code == "not-permitted"
        assert [(one.uid, one.verb, one.outcome) for one in node.audit][1] == (uid, "stop", "not-permitted")


def call_as_nobody(folder: Path, result: socket.socket) -> NoReturn:
    """In a child: give up root, ask the daemon to stop, hand the raw answer back."""
    code = 1
    try:
        os.chdir(folder)  # the folders above may be root's alone
        os.setgid(65534)
        os.setuid(65534)
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(SOCKET)
        body = encode_call(STOP, StopRequest())
        caller.sendall(encode_header(1, len(body), 0) + body)
        result.sendall(caller.recv(4096))
        code = 0
    finally:
        os._exit(code)


@pytest.mark.skipif(os.getuid() != 0, reason="takes root to become somebody else")
async def test_the_kernel_says_who_calls(tmp_path: Path) -> None:
    """A process that gave up root is not taken for root: SO_PEERCRED, for real."""
    async with running(tmp_path) as node:
        os.chmod(tmp_path, 0o711)
        os.chmod(tmp_path / SOCKET, 0o666)
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            call_as_nobody(tmp_path, theirs)
        theirs.close()
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            raw = await stream.receive_some()
        _, status = await trio.to_thread.run_sync(os.waitpid, child, 0)
        assert status == 0
    (frame,) = received_frames(raw)
    answer = decode_answer(frame)
    assert isinstance(answer, Failed)
    assert answer.code == "not-permitted"
    assert (node.audit[0].uid, node.audit[0].pid) == (65534, child)


def received_frames(raw: bytes) -> list[bytes]:
    """The bodies of whole frames."""
    reader = FrameReader()
    reader.space()[: len(raw)] = raw
    return [frame.body for frame in reader.received(len(raw))]


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0" * 100,
        encode_header(1, CALL_BYTES_MAX + 1, 0),
        encode_header(1, 0, 1),
        encode_header(1, 2**32 - 1, 2**32 - 1),
    ],
)
async def test_a_stream_that_is_not_ours_ends_its_connection_only(tmp_path: Path, raw: bytes) -> None:
    """Garbage and oversized frames close their connection; the daemon serves the next."""
    async with running(tmp_path):
        async with calling(tmp_path) as client:
            await client.stream.send_all(raw)
            assert await client.hung_up()
        async with calling(tmp_path) as client:
            await client.send(1, statistics())
            assert len(await client.answers(1)) == 1


async def test_a_call_of_another_version_is_told_so(tmp_path: Path) -> None:
    """A frame that is ours with a body that is not gets an answer, then the connection ends."""
    async with running(tmp_path), calling(tmp_path) as client:
        await client.send(1, msgspec.msgpack.encode([1, 99, "status", {}]))
        ((_, answer),) = await client.answers(1)
        assert isinstance(answer, Failed)
        assert "99" in answer.message
        assert await client.hung_up()


@pytest.mark.parametrize("sent", [b"", encode_header(1, 100, 0)[:7], encode_header(1, 100, 0) + b"half"])
async def test_a_slow_caller_is_dropped(tmp_path: Path, autojump_clock: trio.testing.MockClock, sent: bytes) -> None:
    """A connection on which no whole call comes is closed after its time, wherever it stopped."""
    async with running(tmp_path), calling(tmp_path) as client:
        await client.stream.send_all(sent)
        began = trio.current_time()
        assert await client.hung_up()
        assert trio.current_time() - began == pytest.approx(admin.IDLE_S_MAX)


async def test_a_caller_that_does_not_read_is_dropped(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Answers pile up in the socket's buffer only, and then the connection ends."""
    async with running(tmp_path) as node, calling(tmp_path) as client:

        async def flood() -> None:
            while True:
                await client.send(1, statistics("x" * 10_000))

        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await flood()
        assert trio.current_time() - began == pytest.approx(admin.SEND_S_MAX)
        assert len(node.audit) < 200


async def test_progress_comes_before_the_result(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A long call shows how far it is, and again as a sign of life; its fault comes at the end."""
    async with running(tmp_path) as node, calling(tmp_path) as client:
        await client.send(5, encode_call(FSCK, FsckRequest(metadata_only=True)))
        assert await client.answers(3) == [(5, Progress(1, 2, "shards", "reading"))] * 3
        node.wait.set()
        ((_, last),) = await client.answers(1)
        assert isinstance(last, Failed)
        assert (last.code, last.fault) == ("brick-fault", True)


async def test_a_long_call_ends_when_its_caller_hangs_up(tmp_path: Path) -> None:
    """Nobody waits for it any more: it is cancelled, and the audit says so."""
    async with running(tmp_path) as node:
        async with calling(tmp_path) as client:
            await client.send(1, encode_call(FSCK, FsckRequest()))
            await client.answers(1)
        with trio.fail_after(5):
            await node.cancelled.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert [record.outcome for record in node.audit] == ["hung-up"]


async def test_a_change_goes_on_when_its_caller_hangs_up(tmp_path: Path) -> None:
    """A call that changes something is done to its end, whoever listens."""
    async with running(tmp_path) as node:
        async with calling(tmp_path) as client:
            await client.send(1, encode_call(STOP, StopRequest()))
            await trio.testing.wait_all_tasks_blocked()
        node.wait.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [record.outcome for record in node.audit] == ["ok"]


async def test_what_the_daemon_did_not_finish_is_audited(tmp_path: Path) -> None:
    """A call that the end of the daemon cut off is on record."""
    async with running(tmp_path) as node, calling(tmp_path) as client:
        await client.send(1, encode_call(STOP, StopRequest()))
        await trio.testing.wait_all_tasks_blocked()
    assert [record.outcome for record in node.audit] == ["interrupted"]


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """Of 300 connections the first 256 are served and the others closed at once; room comes back."""
    async with running(tmp_path):
        streams = [await trio.open_unix_socket(str(tmp_path / SOCKET)) for _ in range(300)]
        await trio.testing.wait_all_tasks_blocked()
        served = 0
        for stream in streams:
            client = Client(stream)
            with trio.move_on_after(5):
                try:
                    await client.send(1, statistics())
                    served += len(await client.answers(1))
                except (trio.BrokenResourceError, AssertionError, ConnectionError):
                    pass
            await stream.aclose()
        assert served == CONNECTIONS_MAX
        await trio.testing.wait_all_tasks_blocked()
        async with calling(tmp_path) as client:
            await client.send(1, statistics())
            assert len(await client.answers(1)) == 1


async def test_a_bug_is_not_answered_but_raised(tmp_path: Path) -> None:
    """What is neither Refusal nor Fault ends the daemon: its durable state is the truth."""

    async def broken(_request: StatisticsRequest, _: ShowProgress) -> StatisticsReport:
        raise ZeroDivisionError

    gateway = AdminGateway(
        [serve_verb(STATISTICS, broken)], owner_uid=0, peer_of=peer_of, audit=lambda _: None, wall_clock_ns=lambda: 0
    )
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_listener(tmp_path, SOCKET) as listener, trio.open_nursery() as nursery:
            nursery.start_soon(gateway.run, listener)
            async with calling(tmp_path) as client:
                await client.send(1, statistics())
                await client.hung_up()
                await trio.sleep_forever()


async def test_the_blocking_client_calls(tmp_path: Path) -> None:
    """The command line's client gets reports, failures and progress; without a daemon it says so."""
    shown: list[Progress] = []

    def call() -> None:
        with open_admin(tmp_path) as connection:
            assert connection.pid == os.getpid()
            report = connection.call(STATISTICS, StatisticsRequest(component="wal"), shown.append)
            assert report == StatisticsReport(values={"wal.records": 7})
            answer = connection.call(STATISTICS, StatisticsRequest(component="busy"), shown.append)
            assert isinstance(answer, Failed)
            assert answer.code == "data-busy"
            checked = connection.call(FSCK, FsckRequest(), shown.append)
            assert isinstance(checked, FsckReport)
            assert checked.clean

    async with running(tmp_path) as node, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, call)
        await trio.sleep(admin.PROGRESS_S * 2)
        node.wait.set()
    assert shown[0] == Progress(1, 2, "shards", "reading")
    with pytest.raises(NotRunning, match="no daemon"), open_admin(tmp_path):
        pass
