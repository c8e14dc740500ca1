"""Kill -9 at random moments: what was answered is there afterwards, and the volume is sound."""

import os
import random
import stat
import threading
import time

import attrs
import pytest

from dwd.model.ids import ROOT, InodeNumber
from dwd.namespace.commands import MakeNode, Unlink
from dwd.wire.messages import Changed, Failed, Stored
from tests.integration.daemon import Daemon
from tests.integration.mount_client import MountClient

ROUNDS = 20
LOAD_S = 0.25
IN_FLIGHT = 24


@attrs.define
class Promise:
    """A file of ours, and what its answers said; `None` while there was no answer."""

    name: bytes
    number: InodeNumber | None = None
    data: bytes = b""
    stored: bool = False
    removed: bool | None = None  # None: not asked for, False: asked


class Load:
    """Makes files, stores bytes in them, removes some; keeps a window of requests in flight."""

    def __init__(self, client: MountClient, seed: int) -> None:
        self.client = client
        self.draw = random.Random(seed)
        self.seed = seed
        self.files: list[Promise] = []
        self.waiting: dict[int, tuple[str, Promise]] = {}
        self.answered = 0

    def run(self, seconds: float) -> None:
        """Until the time is up, or the connection is."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                while len(self.waiting) < IN_FLIGHT:
                    self.send_one()
                self.take_answer(next(iter(self.waiting)))
        except (ConnectionError, BrokenPipeError):
            return

    def send_one(self) -> None:
        """A new file, or something to do with an old one."""
        ready = [f for f in self.files[-40:] if f.number is not None and not f.stored and not f.data]
        old = [f for f in self.files[-200:] if f.stored and f.removed is None]
        what = self.draw.random()
        if ready and what < 0.4:
            self.send_store(self.draw.choice(ready))
        elif old and what < 0.5:
            victim = self.draw.choice(old)
            victim.removed = False
            self.remember("unlink", victim, self.client.mutation(Unlink(ROOT, victim.name)))
        else:
            made = Promise(b"%d-%d" % (self.seed, len(self.files)))
            self.files.append(made)
            mode = stat.S_IFREG | 0o600
            self.remember("make", made, self.client.mutation(MakeNode(ROOT, made.name, InodeNumber(0), mode, 0, 0)))

    def send_store(self, file: Promise) -> None:
        """Into a segment or inline, durable or not."""
        assert file.number is not None
        file.data = self.draw.randbytes(self.draw.choice([10, 3000, 200_000]))
        store = self.client.storing(file.number, 0, file.data, durable=self.draw.random() < 0.3)
        self.remember("store", file, store, file.data)

    def remember(self, what: str, file: Promise, request: object, payload: bytes = b"") -> None:
        """Send, and note who waits for the answer."""
        self.waiting[self.client.send(request, payload)] = what, file  # type: ignore[arg-type]

    def take_answer(self, correlation: int) -> None:
        """Wait for the oldest answer."""
        reply = self.client.answer_to(correlation).reply
        what, file = self.waiting.pop(correlation)
        assert not isinstance(reply, Failed), reply
        self.answered += 1
        if what == "make":
            assert isinstance(reply, Changed)
            file.number = reply.done.inodes[0].number
        elif what == "store":
            assert isinstance(reply, Stored)
            file.stored = True
        else:
            file.removed = True

    def check(self, client: MountClient) -> None:
        """All that was answered is there; what was not is there whole, or not at all."""
        for file in self.files:
            inode = client.lookup(file.name)
            if file.removed:
                assert inode is None, file.name
            if file.removed is not None or file.number is None:
                continue
            assert inode is not None, file.name
            assert inode.number == file.number
            found = client.read_all(file.number)
            assert found == file.data if file.stored else found in (b"", file.data)


@pytest.mark.slow
def test_nothing_answered_is_lost_by_twenty_kills(daemon: Daemon) -> None:
    """Each kill meets a busy daemon; afterwards every answer still holds, and fsck finds nothing at the end."""
    loads: list[Load] = []
    answered = interrupted = 0
    session, next_request = os.urandom(16), 1
    for seed in range(ROUNDS):
        client = daemon.client(session, next_request)
        load = Load(client, seed)
        loads.append(load)
        killer = random.Random(seed).uniform(0.05, LOAD_S)
        timer = threading.Timer(killer, daemon.running.kill)
        timer.start()
        load.run(10)
        timer.join()
        daemon.running.wait(10)
        answered += load.answered
        interrupted += bool(load.waiting)
        daemon.start()
        next_request = client.next_request
        client.close()
        after = daemon.client(session, next_request)
        load.check(after)
        after.close()
    assert interrupted == ROUNDS
    assert answered > 20 * ROUNDS
    last = daemon.client(session, next_request)
    for load in loads:
        load.check(last)
    daemon.assert_sound()


@pytest.mark.slow
def test_a_stop_under_load_loses_no_answer(daemon: Daemon) -> None:
    """SIGTERM: the daemon ends within five seconds, with exit code 0, and what it answered is there."""
    client = daemon.client()
    load = Load(client, 1)
    timer = threading.Timer(1.0, daemon.running.terminate)
    timer.start()
    load.run(20)
    begun = time.monotonic()
    timer.join()
    assert daemon.running.wait(10) == 0, daemon.log()
    assert time.monotonic() - begun < 5
    assert load.waiting
    assert load.answered > 100
    daemon.start()
    load.check(daemon.client(client.session, client.next_request))
    daemon.assert_sound()


def test_an_idle_stop_is_quick(daemon: Daemon) -> None:
    """With mounts connected, and with a fsck under way."""
    client = daemon.client()
    for i in range(50):
        client.store(client.make(b"%d" % i).number, 0, b"x" * 10_000)
    assert daemon.stop() < 3
    daemon.start()
    daemon.assert_sound()
