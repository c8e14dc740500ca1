"""Sessions: who is exclusive, who is recalled, and that a retry happens once."""

import time

import pytest

from dwd.model.errors import BadRequest, VolumeMismatch
from dwd.model.ids import RequestNumber
from dwd.namespace.commands import FileData
from dwd.wire.messages import (
    PROTOCOL_VERSION,
    Acknowledged,
    Changed,
    Failed,
    Goodbye,
    Hello,
    Mutate,
    Orphaned,
    Recall,
    Recalled,
    Store,
    Stored,
    Welcome,
)
from tests.integration.daemon import Daemon, wait_until
from tests.integration.mount_client import MountClient, Refused, frame, make_file


def test_a_lone_mount_is_exclusive(daemon: Daemon) -> None:
    """One mount alone may cache."""
    client = daemon.client()
    assert client.welcome is not None
    assert client.welcome.exclusive
    assert client.welcome.protocol == PROTOCOL_VERSION


def test_a_second_mount_waits_until_the_first_is_recalled(daemon: Daemon) -> None:
    """The first mount sends what is dirty before the second is let in, and then neither is exclusive."""
    first = daemon.client()
    second = daemon.connect()
    hello = second.send_hello()
    assert first.wait_for_push() == Recall()
    second.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        second.answer_to(hello)
    made = first.make(b"sent at the recall")
    second.socket.settimeout(10)
    assert first.call(Recalled()).reply == Acknowledged()
    welcome = second.answer_to(hello).reply
    assert isinstance(welcome, Welcome)
    assert not welcome.exclusive
    assert second.lookup(b"sent at the recall") == made


def test_a_recalled_mount_that_hangs_up_holds_nobody_up(daemon: Daemon) -> None:
    """Its end answers the recall, and its session can come back."""
    first = daemon.client()
    second = daemon.connect()
    hello = second.send_hello()
    assert first.wait_for_push() == Recall()
    first.close()
    welcome = second.answer_to(hello).reply
    assert isinstance(welcome, Welcome)
    assert welcome.exclusive
    correlation = first_again(daemon, first)
    assert second.wait_for_push() == Recall()
    second.call(Recalled())
    answer = correlation[0].answer_to(correlation[1]).reply
    assert isinstance(answer, Welcome)
    assert not answer.exclusive


def first_again(daemon: Daemon, first: MountClient) -> tuple[MountClient, int]:
    """The first mount comes back: its new connection, and the Hello that it said there."""
    again = daemon.connect(first.session, first.next_request)
    return again, again.send_hello()


@pytest.mark.slow
def test_a_mount_that_ignores_the_recall_is_given_up(daemon: Daemon) -> None:
    """After the bound its connection is ended, and what its session says later is refused."""
    first = daemon.client()
    first.make(b"before")
    second = daemon.connect()
    hello = second.send_hello()
    assert first.wait_for_push() == Recall()
    welcome = second.answer_to(hello).reply
    assert isinstance(welcome, Welcome)
    assert welcome.exclusive
    with pytest.raises(ConnectionError):
        first.wait_for_push()
    back, correlation = first_again(daemon, first)
    refusal = back.answer_to(correlation).reply
    assert isinstance(refusal, Failed)
    assert refusal.code == VolumeMismatch.code
    assert second.lookup(b"before") is not None


def test_goodbye_ends_the_session(daemon: Daemon) -> None:
    """After a Goodbye the session cannot come back, and another mount is exclusive at once."""
    first = daemon.client()
    first.make(b"a")
    first.goodbye()
    with pytest.raises(Refused, match=VolumeMismatch.code):
        daemon.client(first.session, first.next_request)
    other = daemon.client()
    assert other.welcome is not None
    assert other.welcome.exclusive


def test_goodbye_without_waiting_frees_what_was_held(daemon: Daemon) -> None:
    """A mount that hangs up right behind its Goodbye leaves no orphan for ever."""
    client = daemon.client()
    for round_ in range(20):
        client.make(b"held")
        client.unlink(b"held")
        client.socket.sendall(frame(99_999, Goodbye()))
        client.close()
        client = daemon.connect() if round_ == 19 else daemon.client()
    client.hello()
    wait_until(lambda: daemon.statistics()["orphans.waiting"] == 0)
    daemon.assert_sound()


def test_hello_may_be_repeated_after_a_lost_connection(daemon: Daemon) -> None:
    """A mount whose Hello was never answered says it again, with the same session."""
    for _ in range(30):
        hasty = daemon.connect(b"s" * 16)
        hasty.send_hello()
        hasty.close()
    client = daemon.client(b"s" * 16)
    assert client.make(b"works").size == 0


def test_a_second_hello_ends_the_connection(daemon: Daemon) -> None:
    """One connection is one session."""
    client = daemon.client()
    client.send_hello()
    with pytest.raises(ConnectionError):
        client.wait_for_push()
    other = daemon.client()
    assert other.welcome is not None
    assert other.welcome.exclusive


def test_hello_of_another_protocol_is_refused(daemon: Daemon) -> None:
    """The text tells both versions."""
    client = daemon.connect()
    correlation = client.send(Hello(99, client.session, "/test", RequestNumber(1), ()))
    answer = client.answer_to(correlation).reply
    assert isinstance(answer, Failed)
    assert answer.code == BadRequest.code
    assert "protocol 99" in answer.message


def test_a_session_survives_its_connection_and_the_daemon(daemon: Daemon) -> None:
    """The same session goes on after a lost connection, a kill, and both."""
    client = daemon.client()
    client.make(b"1")
    client.reconnect()
    client.make(b"2")
    daemon.restart()
    client.reconnect()
    client.make(b"3")
    assert all(client.lookup(name) for name in (b"1", b"2", b"3"))
    daemon.assert_sound()


def test_a_mutation_that_is_sent_again_happens_once(daemon: Daemon) -> None:
    """Its answer is the first one, byte for byte, also after a kill."""
    client = daemon.client()
    request = client.mutation(make_file(b"once"))
    first = client.call(request).reply
    assert isinstance(first, Changed)
    client.reconnect()
    assert client.call(request).reply == first
    daemon.restart()
    client.reconnect()
    assert client.call(request).reply == first
    refused = client.mutation(make_file(b"once"))
    with pytest.raises(Refused) as refusal:
        client.call(refused)
    client.reconnect()
    with pytest.raises(Refused) as again:
        client.call(refused)
    assert again.value.number == refusal.value.number
    daemon.assert_sound()


def test_a_store_that_is_sent_again_leaves_no_stray_shards(daemon: Daemon) -> None:
    """The same answer, one segment, six shards; also after a kill, and when both are in the air at once."""
    client = daemon.client()
    inode = client.make(b"f")
    data = b"x" * 100_000
    request = client.storing(inode.number, 0, data)
    first = client.call(request, data).reply
    assert isinstance(first, Stored)
    twice = [client.send(request, data), client.send(request, data)]
    assert all(_inodes(client.answer_to(c).reply) == first.inodes for c in twice)
    together = client.storing(inode.number, 0, data)
    pair = [client.send(together, data), client.send(together, data)]
    answers = [_inodes(client.answer_to(c).reply) for c in pair]
    assert answers[0] == answers[1]
    daemon.restart()
    client.reconnect()
    assert _inodes(client.call(together, data).reply) == answers[0]
    wait_until(lambda: len(daemon.shards()) == 6)
    daemon.assert_sound()


def _inodes(reply: object) -> object:
    assert isinstance(reply, Stored), reply
    return reply.inodes


def test_a_mount_that_hangs_up_in_the_middle_of_a_store_leaves_no_stray_shards(daemon: Daemon) -> None:
    """What was cut off is cleared away without a restart: each shard that is there belongs to a segment."""
    client = daemon.client()
    inode = client.make(b"f")
    data = b"y" * (4 << 20)
    for _ in range(8):
        client.send(client.storing(inode.number, 0, data), data)
        client.send(client.storing(inode.number, 0, data), data)
        client.reconnect()
    client.store(inode.number, 0, data)
    wait_until(lambda: len(daemon.shards()) == 6, 20)
    assert client.read_all(inode.number) == data
    daemon.assert_sound()


def test_a_store_that_is_cut_off_costs_the_next_one_nothing(daemon: Daemon) -> None:
    """Its bricks are not taken for slow ones: what follows is not refused, and is as wide as it is meant to be."""
    client = daemon.client()
    inode = client.make(b"f")
    data = b"y" * (4 << 20)
    for i in range(8):
        client.send(client.storing(inode.number, 0, data), data)
        time.sleep(0.01 * i)  # at one moment or another it is with the bricks
        client.reconnect()
        client.store(inode.number, 0, data)
    statistics = daemon.statistics()
    assert (statistics["segments.fallbacks"], statistics["segments.shards_failed"]) == (0, 0)
    assert client.read_all(inode.number) == data


def test_a_session_cannot_run_far_ahead_of_its_acknowledgements(daemon: Daemon) -> None:
    """What is kept for its retries is bounded; a wild number is refused, and the daemon does not count up to it."""
    client = daemon.client()
    with pytest.raises(Refused):
        client.call(Mutate(RequestNumber(1 << 60), RequestNumber((1 << 60) - 1), make_file(b"wild")))
    with pytest.raises(Refused):
        client.call(Store(RequestNumber(1 << 61), RequestNumber(0), (FileData(client.make(b"f").number),), False))
    assert client.lookup(b"wild") is None


def test_others_hear_of_an_orphan(daemon: Daemon) -> None:
    """Whoever may hold a file that lost its last name is told, and it lives until all have let it go."""
    first = daemon.client()
    second = daemon.connect()
    hello = second.send_hello()
    first.wait_for_push()
    first.call(Recalled())
    second.answer_to(hello)
    inode = first.make(b"f")
    first.store(inode.number, 0, b"still here")
    assert first.unlink(b"f").orphans == (inode.number,)
    assert second.wait_for_push() == Orphaned((inode.number,))
    first.release(inode.number)
    assert second.read(inode.number, 0, 100) == b"still here"
    second.release(inode.number)
    wait_until(lambda: first.inode(inode.number) is None)
