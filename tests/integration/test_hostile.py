"""Rude and broken clients: the daemon lives, its memory stays bounded, and others are served meanwhile."""

import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
import pytest

from dwd.codec.frame import encode_header
from dwd.model.ids import ROOT, InodeNumber, RequestNumber
from dwd.model.limits import CONNECTIONS_MAX
from dwd.model.units import MIB
from dwd.namespace.commands import MakeNode
from dwd.wire.messages import (
    Changed,
    Entries,
    Found,
    GetInode,
    Lookup,
    Mutate,
    Read,
    ReadDirectory,
    Recall,
    Recalled,
    Welcome,
)
from tests.integration.daemon import Daemon, wait_until
from tests.integration.mount_client import MountClient, Refused, connect, make_file

LATENCY_S_MAX = 1.0  # of a lookup while others misbehave; usually a few ms


@pytest.fixture
def neighbour(daemon: Daemon) -> MountClient:
    """A well-behaved mount. It shares the volume, so that nobody who comes waits for a recall."""
    first, second = daemon.client(), daemon.connect()
    hello = second.send_hello()
    assert first.wait_for_push() == Recall()
    first.call(Recalled())
    assert isinstance(second.answer_to(hello).reply, Welcome)
    second.make(b"neighbour")
    return second


@contextmanager
def served_meanwhile(daemon: Daemon, neighbour: MountClient) -> Iterator[None]:
    """The neighbour is served before, right after, and the daemon is the same process."""
    pid = daemon.running.pid
    yield
    begun = time.monotonic()
    assert neighbour.lookup(b"neighbour") is not None
    assert time.monotonic() - begun < LATENCY_S_MAX
    assert daemon.is_alive()
    assert daemon.running.pid == pid


def test_a_thousand_connections(daemon: Daemon, neighbour: MountClient) -> None:
    """More than the bound are closed at once; those that are silent lose their place, and a new mount gets in."""
    with served_meanwhile(daemon, neighbour):
        crowd = [connect(daemon.data) for _ in range(1000)]
        assert neighbour.lookup(b"neighbour") is not None
        wait_until(lambda: sum(map(_hung_up, crowd)) >= 1000 - CONNECTIONS_MAX)
    for connection in crowd:
        connection.close()
    wait_until(lambda: _can_enter(daemon))


def _can_enter(daemon: Daemon) -> bool:
    try:
        daemon.connect().close()
    except OSError:
        return False
    return True


def _hung_up(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.slow
def test_who_says_nothing_loses_its_place(daemon: Daemon, neighbour: MountClient) -> None:
    """Half a header, a byte now and then, or nothing at all: after the bound the connection ends."""
    with served_meanwhile(daemon, neighbour):
        silent, half, loris = (connect(daemon.data) for _ in range(3))
        half.sendall(encode_header(1, 100, 0)[:10])
        begun = time.monotonic()
        loris.sendall(encode_header(1, 1000, 0))
        while not _hung_up(loris) and time.monotonic() - begun < 20:
            loris.sendall(b"d")
            time.sleep(0.2)
        assert time.monotonic() - begun < 15
        wait_until(lambda: _hung_up(silent) and _hung_up(half), 5)
        for connection in (silent, half, loris):
            connection.close()


def test_garbage_ends_the_connection_only(daemon: Daemon, neighbour: MountClient) -> None:
    """Random bytes, wrong checksums, wrong bodies, requests before Hello."""
    draw = random.Random(5)
    valid = bytearray(encode_header(1, 4, 0) + b"\x91\x08\x00\x00")
    pieces = [draw.randbytes(n) for n in (1, 24, 1000, 70_000)]
    for position in range(len(valid)):
        damaged = bytearray(valid)
        damaged[position] ^= 1 << draw.randrange(8)
        pieces.append(bytes(damaged))
    pieces.append(encode_header(1, 3, 0) + b"\x93\x02\x01")
    with served_meanwhile(daemon, neighbour):
        for piece in pieces:
            rude = connect(daemon.data)
            rude.sendall(piece)
            rude.shutdown(socket.SHUT_WR)
            rude.settimeout(5)
            with suppress(ConnectionResetError):
                assert rude.recv(100) == b""
            rude.close()


def wild_values(draw: random.Random) -> object:
    """Anything that msgpack can say, biased to what breaks things."""
    return draw.choice(
        [
            0, 1, 2, 3, -1, 255, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63), 0o100644, 0o40755,
            b"", b"a", b"neighbour", b"a" * 256, b"/", b"\0", b"x" * 70_000, "text", None, True, False, 1.5, [], [[]],
            [1, 2, 3], [[0, 1, 0]], [[0, b"x"]], [[1, [[0, 5, 0]], [[0, b"y"]]]], {}, b"system.posix_acl_access",
        ]
    )  # fmt: skip


def test_wild_requests_are_refused_and_the_daemon_starts_again(daemon: Daemon, neighbour: MountClient) -> None:
    """Every request with every kind of value: what passes is applied, and nothing that was logged stops a start."""
    draw = random.Random(11)
    arity = {2: 2, 3: 1, 4: 3, 5: 2, 6: 1, 7: 3, 8: 0, 11: 0, 12: 1}
    operations = {1: 8, 2: 3, 3: 2, 4: 2, 5: 6, 6: 8, 7: 5, 8: 2}
    client = daemon.client()
    for number in range(3000):
        if draw.random() < 0.5:
            tag = draw.choice(list(operations))
            inner = [tag, *(wild_values(draw) for _ in range(operations[tag]))]
            body = [9, client.number(), 0, inner]
            if draw.random() < 0.1:
                body[draw.choice([1, 2])] = wild_values(draw)
        elif draw.random() < 0.3:
            body = [10, client.number(), 0, wild_values(draw), False]
        else:
            tag = draw.choice(list(arity))
            body = [tag, *(wild_values(draw) for _ in range(arity[tag]))]
        raw = msgspec.msgpack.encode(body)
        try:
            client.socket.sendall(encode_header(number + 1, len(raw), 0) + raw)
            client.answer_to(number + 1)
        except (ConnectionError, BrokenPipeError):
            assert daemon.is_alive(), (body, daemon.log())
            client = daemon.client(client.session, client.next_request)
    daemon.restart()
    daemon.assert_sound()


def test_likely_numbers_in_wild_operations(daemon: Daemon) -> None:
    """Operations that decode, with extreme numbers: none is left in the log that cannot be applied."""
    draw = random.Random(13)
    client = daemon.client()
    for i in range(5):
        client.make(b"%d" % i)
    numbers = [0, 1, 2, 3, 4, 7, 1 << 40, (1 << 63) - 1, 1 << 63, -1]
    names = [b"", b"1", b"2", b"new", b"a/b", b"n" * 300, b"."]
    optional = [None, 0, 1, 5, 0o7777, 1 << 44, 1 << 62, -1, -(1 << 62)]
    for number in range(2000):
        n, m = draw.choice(numbers), draw.choice(names)
        operation: list[object] = draw.choice(
            [
                [1, n, m, draw.choice(numbers), draw.choice([0o100644, 0o40755, 0o120777, 0, -1, 1 << 40]), n, n, n, m],
                [2, n, draw.choice(numbers), m],
                [5, n, m, draw.choice(numbers), draw.choice(names), draw.random() < 0.5, draw.random() < 0.3],
                [6, n, *(draw.choice(optional) for _ in range(6)), draw.random() < 0.5],
                [7, n, b"user." + m, draw.choice([b"", b"v", b"w" * 70_000, b"w" * 200_000]), False, False],
                [7, n, b"system.posix_acl_default", draw.randbytes(draw.randrange(60)), False, False],
            ]
        )
        raw = msgspec.msgpack.encode([9, client.number(), client.answered(), operation])
        try:
            client.socket.sendall(encode_header(number + 1, len(raw), 0) + raw)
            client.answer_to(number + 1)
        except (ConnectionError, BrokenPipeError):
            assert daemon.is_alive(), (operation, daemon.log())
            client = daemon.client(client.session, client.next_request)
    daemon.restart()
    daemon.assert_sound()


@pytest.mark.slow
def test_a_client_that_never_reads_costs_bounded_memory(daemon: Daemon, neighbour: MountClient) -> None:
    """It asks for a gigabyte in one breath and takes nothing of it."""
    number = neighbour.make(b"big").number
    neighbour.store(number, 0, b"x" * MIB)
    before = daemon.rss_mib()
    greedy = daemon.client()
    greedy.socket.settimeout(1)
    with served_meanwhile(daemon, neighbour):
        try:
            for _ in range(50):
                greedy.send_many([Read(number, 0, MIB)] * 200)
        except TimeoutError:
            pass
        time.sleep(0.5)
        assert daemon.rss_mib() - before < 80
    greedy.close()


def test_ten_thousand_requests_in_one_breath(daemon: Daemon, neighbour: MountClient) -> None:
    """All are answered, each once, and a neighbour's lookup is not kept waiting."""
    client = daemon.client()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * MIB)
    requests: list[Mutate | Lookup | GetInode] = []
    for i in range(10_000):
        kind = i % 4
        if kind == 0:
            requests.append(client.mutation(make_file(b"%d" % i)))
        elif kind == 1:
            requests.append(GetInode(ROOT))
        else:
            requests.append(Lookup(ROOT, b"neighbour"))
    correlations: list[int] = []
    with served_meanwhile(daemon, neighbour):
        for start in range(0, 10_000, 500):
            correlations += client.send_many(requests[start : start + 500])
    answers = [client.answer_to(correlation).reply for correlation in correlations]
    assert sum(isinstance(answer, Changed) for answer in answers) == 2500
    assert sum(isinstance(answer, Found) for answer in answers) == 7500
    daemon.assert_sound()


def test_a_directory_of_long_links_lists_in_pages(daemon: Daemon) -> None:
    """A page is cut before it exceeds a frame."""
    client = daemon.client()
    target = b"t" * 4000
    for i in range(400):
        client.mutate(MakeNode(ROOT, b"%d" % i, InodeNumber(0), 0o120777, 0, 0, 0, target))
    cookie, names = 0, set()
    while True:
        page = client.call(ReadDirectory(ROOT, cookie, 1024)).reply
        assert isinstance(page, Entries)
        names |= {entry.name for entry in page.entries}
        if page.complete:
            break
        cookie = page.entries[-1].cookie
    assert len(names) == 400


def test_many_stores_at_once_cost_bounded_memory(daemon: Daemon) -> None:
    """A mount that sends segments without waiting is read only as fast as they are stored."""
    client = daemon.client()
    number = client.make(b"f").number
    before = daemon.rss_mib()
    data = bytes(4 * MIB)
    waiting = [client.send(client.storing(number, 0, data), data) for _ in range(24)]
    peak = daemon.rss_mib()
    for correlation in waiting:
        client.answer_to(correlation)
        peak = max(peak, daemon.rss_mib())
    assert peak - before < 130
    with pytest.raises(Refused):
        client.call(Mutate(RequestNumber(1 << 62), RequestNumber(0), make_file(b"x")))
