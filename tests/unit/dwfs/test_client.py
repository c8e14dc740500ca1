"""The client against a daemon of a few lines: real sockets, real frames, and every way to lose an answer."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from dwd.codec.frame import FrameReader, encode_header
from dwd.model.errors import DwError, NoSpace, Unreachable
from dwd.model.ids import ROOT, Epoch, InodeNumber, SessionId, VolumeId
from dwd.namespace.commands import FileData, RemoveDirectory
from dwd.namespace.outcomes import Done
from dwd.wire import messages as wire
from dwfs.answers import DaemonFault
from dwfs.client import Client
from dwfs.connecting import ClientOptions
from dwfs.watch import Watch

_SESSION = SessionId(b"s" * 16)
_VOLUME = VolumeId(b"v" * 16)


@attrs.define
class Heard:
    """The observer: what the client told it."""

    welcomes: int = 0
    pushes: list[wire.Recall | wire.Orphaned] = attrs.field(factory=list)
    abandonments: int = 0

    def holding(self) -> tuple[InodeNumber, ...]:
        return (InodeNumber(7),)

    def welcomed(self, welcome: wire.Welcome) -> None:
        self.welcomes += 1

    def pushed(self, push: wire.Recall | wire.Orphaned) -> None:
        self.pushes.append(push)

    def abandoned(self) -> None:
        self.abandonments += 1


@attrs.define
class Daemon:
    """Listens, welcomes, keeps what it is asked, and answers when `answers` is set."""

    path: Path
    volume: VolumeId = _VOLUME
    answers: bool = True
    reply: Callable[[wire.Request], wire.Reply] = lambda request: wire.Changed(Done(value=1))
    asked: list[wire.Request] = attrs.field(factory=list)
    payloads: list[bytes] = attrs.field(factory=list)
    streams: list[trio.SocketStream] = attrs.field(factory=list)

    async def run(self, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED) -> None:
        listening = trio.socket.socket(trio.socket.AF_UNIX)
        folder = os.open(self.path.parent, os.O_PATH)  # the path may be longer than an address
        await listening.bind(f"/proc/self/fd/{folder}/{self.path.name}")
        os.close(folder)
        listening.listen()
        await trio.serve_listeners(self._serve, [trio.SocketListener(listening)], task_status=task_status)

    async def lose(self) -> None:
        """End every connection."""
        for stream in self.streams:
            await stream.aclose()
        self.streams.clear()

    async def send(self, message: wire.Reply | wire.Push, correlation: int = 0) -> None:
        body = wire.encode_message(message)
        await self.streams[-1].send_all(encode_header(correlation, len(body), 0) + body)

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.streams.append(stream)
        reader = FrameReader()
        try:
            while count := await stream.socket.recv_into(reader.space()):
                for frame in reader.received(count):
                    request = wire.decode_request(frame.body)
                    self.asked.append(request)
                    self.payloads.append(bytes(frame.payload[: frame.payload_length]))
                    if isinstance(request, wire.Hello):
                        await self.send(wire.Welcome(wire.PROTOCOL_VERSION, self.volume, Epoch(1), True, (), 1))
                    elif self.answers:
                        await self.send(self.reply(request), frame.correlation)
        except (OSError, trio.ClosedResourceError, trio.BrokenResourceError):
            return

    def was_asked(self, operation: RemoveDirectory) -> bool:
        return any(mutation.operation == operation for mutation in self.mutations())

    def mutations(self) -> list[wire.Mutate]:
        return [request for request in self.asked if isinstance(request, wire.Mutate)]


@attrs.frozen
class World:
    """A client and its daemon."""

    client: Client
    daemon: Daemon
    heard: Heard
    nursery: trio.Nursery


@asynccontextmanager
async def connected(path: Path, *, bound: float = 5.0) -> AsyncIterator[World]:
    """A client that has been welcomed."""
    serving, heard = Daemon(path), Heard()
    client = Client(_options(path, bound), heard, Watch())
    async with trio.open_nursery() as nursery:
        await nursery.start(serving.run)
        await nursery.start(client.run)
        yield World(client, serving, heard, nursery)
        nursery.cancel_scope.cancel()


def _options(path: Path, bound: float = 5.0) -> ClientOptions:
    return ClientOptions(path, _SESSION, "/m", bound, _no_daemon)


def _refuse(code: str, request: wire.Request) -> wire.Reply:
    return wire.Failed(code, 5, f"why {type(request).__name__}")


async def _no_daemon() -> None:
    raise Unreachable("nothing to start here")


async def _until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110  what the other end of a socket has seen sets no event of ours
            await trio.sleep(0.001)


def _operation(name: bytes) -> RemoveDirectory:
    return RemoveDirectory(ROOT, name)


async def _outcome(into: list[object], work: Callable[[], Awaitable[object]]) -> None:
    try:
        into.append(await work())
    except DwError as error:
        into.append(error)


async def test_a_mutation_is_numbered_and_answered(tmp_path: Path) -> None:
    """Hello names what is held; numbers rise by one; all below the oldest unanswered one count as answered."""
    async with connected(tmp_path / "s") as world:
        for name in (b"a", b"b"):
            assert (await world.client.mutate(_operation(name))).value == 1
        hello = world.daemon.asked[0]
        assert isinstance(hello, wire.Hello)
        assert (hello.session, hello.holding, hello.next_request) == (_SESSION, (7,), 1)
        assert [(m.request, m.answered) for m in world.daemon.mutations()] == [(1, 0), (2, 1)]


async def test_the_watermark_waits_for_the_oldest(tmp_path: Path) -> None:
    """While one request is unanswered, none after it counts as answered."""
    async with connected(tmp_path / "s") as world:
        world.daemon.answers = False
        world.nursery.start_soon(_outcome, [], lambda: world.client.mutate(_operation(b"slow")))
        await _until(lambda: len(world.daemon.mutations()) == 1)
        world.daemon.answers = True
        await world.client.mutate(_operation(b"b"))
        await world.client.mutate(_operation(b"c"))
        assert [(m.request, m.answered) for m in world.daemon.mutations()] == [(1, 0), (2, 0), (3, 0)]


async def test_an_unanswered_request_is_sent_again_with_its_number(tmp_path: Path) -> None:
    """After a lost connection, in order, and each caller gets its answer."""
    async with connected(tmp_path / "s") as world:
        world.daemon.answers = False
        got: list[object] = []
        for name in (b"a", b"b"):
            world.nursery.start_soon(_outcome, got, partial(world.client.mutate, _operation(name)))
            await _until(partial(world.daemon.was_asked, _operation(name)))
        world.daemon.answers = True
        await world.daemon.lose()
        await _until(lambda: len(got) == 2)
        sent = [(m.request, m.operation) for m in world.daemon.mutations()]
        assert sent[2:] == sent[:2]
        assert [isinstance(one, Done) for one in got] == [True, True]
        assert world.heard.welcomes == 2
        hello = [request for request in world.daemon.asked if isinstance(request, wire.Hello)][-1]
        assert hello.next_request == 3


async def test_a_daemon_that_does_not_answer_is_waited_for_within_a_bound(tmp_path: Path) -> None:
    """Then the call fails, and the caches that its change may have made wrong are dropped, now and at a late answer."""
    async with connected(tmp_path / "s", bound=0.1) as world:
        world.daemon.answers = False
        with pytest.raises(Unreachable):
            await world.client.mutate(_operation(b"a"))
        assert world.heard.abandonments == 1
        world.daemon.answers = True
        await world.client.mutate(_operation(b"b"))
        await world.daemon.send(wire.Changed(Done()), correlation=1)
        await _until(lambda: world.heard.abandonments == 2)
        assert world.daemon.mutations()[-1].answered == 1


async def test_a_store_is_not_given_up(tmp_path: Path) -> None:
    """Its bytes stay with us while the daemon is away, and arrive whole, once it is back."""
    async with connected(tmp_path / "s", bound=0.05) as world:
        world.daemon.answers = False
        world.daemon.reply = lambda request: wire.Stored((), 5)
        got: list[object] = []
        payload = [bytes([n]) * 700_000 for n in range(5)]
        files = (FileData(InodeNumber(2), ((0, 3_500_000, 0),)),)
        world.nursery.start_soon(_outcome, got, lambda: world.client.store(files, payload, durable=False))
        await trio.sleep(0.4)
        assert got == []
        world.daemon.answers = True
        await world.daemon.lose()
        await _until(lambda: len(got) == 1)
        assert got == [wire.Stored((), 5)]
        assert world.daemon.payloads[-1] == b"".join(payload)


async def test_what_the_daemon_refuses_is_raised(tmp_path: Path) -> None:
    """A refusal, a full volume and a fault are told apart."""
    async with connected(tmp_path / "s") as world:
        for code, kind in (("no-space", NoSpace), ("segment-lost", DaemonFault)):
            world.daemon.reply = partial(_refuse, code)
            with pytest.raises(kind, match="why"):
                await world.client.mutate(_operation(b"a"))


async def test_an_answer_of_another_kind_is_a_fault(tmp_path: Path) -> None:
    """It is not taken for what it is not."""
    async with connected(tmp_path / "s") as world:
        world.daemon.reply = lambda request: wire.Acknowledged()
        with pytest.raises(DaemonFault, match="Acknowledged where Changed belongs"):
            await world.client.mutate(_operation(b"a"))


async def test_pushes_reach_the_observer(tmp_path: Path) -> None:
    """What the daemon says unasked."""
    async with connected(tmp_path / "s") as world:
        await world.daemon.send(wire.Recall())
        await _until(lambda: world.heard.pushes == [wire.Recall()])


async def test_what_comes_right_behind_the_welcome_is_heard(tmp_path: Path) -> None:
    """The daemon may say something unasked in the same breath."""
    welcome = wire.encode_message(wire.Welcome(wire.PROTOCOL_VERSION, _VOLUME, Epoch(1), False, (), 1))
    recall = wire.encode_message(wire.Recall())
    frames = b"".join(encode_header(0, len(body), 0) + body for body in (welcome, recall))
    heard = Heard()
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(str(tmp_path / "s"))
        listening.listen()
        await _hear(tmp_path / "s", listening, frames, heard)
    assert heard.welcomes == 1


async def _hear(path: Path, listening: trio.socket.SocketType, frames: bytes, heard: Heard) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nursery.start, Client(_options(path), heard, Watch()).run)
        async with trio.SocketStream((await listening.accept())[0]) as stream:
            await stream.send_all(frames)
            await _until(lambda: heard.pushes == [wire.Recall()])
        nursery.cancel_scope.cancel()


async def test_a_socket_with_a_long_path_is_reached(tmp_path: Path) -> None:
    """A unix socket's address has 107 bytes; a folder's path may have more."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    async with connected(folder / "s") as world:
        assert (await world.client.mutate(_operation(b"a"))).value == 1


async def test_another_volume_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Calls fail at once, and nothing is sent to it."""
    async with connected(tmp_path / "s") as world:
        world.daemon.answers = False
        world.daemon.volume = VolumeId(b"x" * 16)
        got: list[object] = []
        world.nursery.start_soon(_outcome, got, lambda: world.client.mutate(_operation(b"a")))
        await _until(lambda: len(world.daemon.mutations()) == 1)
        await world.daemon.lose()
        await _until(lambda: len(got) == 1)
        assert "another volume" in str(got[0])
        assert len(world.daemon.mutations()) == 1


async def test_without_a_daemon_the_first_connection_fails(tmp_path: Path) -> None:
    """The reason is that of whoever tried to start one."""
    client = Client(_options(tmp_path / "none"), Heard(), Watch())
    with pytest.RaisesGroup(pytest.RaisesExc(Unreachable, match="nothing to start"), flatten_subgroups=True):
        await client.run()
