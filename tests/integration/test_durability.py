"""What fsync promises: the log is synced before the answer, and no answer waits for ever."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dwd.wire.messages import Acknowledged, Barrier, Mutate, Stored
from tests.integration.conftest import MakeDaemon
from tests.integration.daemon import Daemon
from tests.integration.mount_client import make_file


def test_a_barrier_makes_what_was_answered_durable(daemon: Daemon) -> None:
    """After it, the log on the disk has every record that there was."""
    client = daemon.client()
    for i in range(100):
        client.make(b"%d" % i)
    records = daemon.statistics()["log.records"]
    client.barrier()
    assert daemon.statistics()["log.synced_records"] >= records


def test_a_durable_store_is_synced_before_its_answer(daemon: Daemon) -> None:
    """In a segment and inline."""
    client = daemon.client()
    number = client.make(b"f").number
    client.store(number, 0, b"x" * 1000, durable=True)
    after = daemon.statistics()
    assert after["log.syncs"] >= 1
    assert after["log.synced_records"] == after["log.records"]
    client.store_inline(number, 5000, b"y" * 1000, durable=True)
    after = daemon.statistics()
    assert after["log.syncs"] >= 2
    assert after["log.synced_records"] == after["log.records"]


def test_a_barrier_never_waits_for_the_next_change(daemon: Daemon) -> None:
    """Also when the flush of the state store syncs the log just then, and nothing follows that would sync again."""
    client = daemon.client()
    client.socket.settimeout(5)
    for i in range(400):
        client.store_inline(client.make(b"%d" % i).number, 0, bytes(40_000))  # so that flushes come often
        client.barrier()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt-get install strace")
def test_the_disk_is_asked_before_the_answer_is_sent(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Seen from outside: between a durable request and its answer there is an fdatasync of the log that returned."""
    trace = tmp_path / "trace"
    wrapper = (
        "strace",
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=fdatasync,sendto,sendmsg,recvfrom",
        "-s",
        "0",
        "-o",
        str(trace),
    )
    daemon = make_daemon(wrapper=wrapper).start()
    client = daemon.client()
    number = client.make(b"f").number
    for durable in (
        client.barrier,
        lambda: client.store_inline(number, 0, b"x", durable=True),
        lambda: client.store(number, 0, b"x" * 5000, durable=True),
    ):
        client.make(b"before %d" % client.next_request)
        seen = len(trace.read_text())
        durable()
        lines = trace.read_text()[seen:].splitlines()
        synced = [i for i, line in enumerate(lines) if "fdatasync" in line and ".wal>" in line]
        sent = [i for i, line in enumerate(lines) if "send" in line and "= -1" not in line]
        assert synced, lines
        assert synced[0] < sent[-1], lines
    client.close()
    child = subprocess.run(["pgrep", "-P", str(daemon.running.pid)], capture_output=True, text=True, check=True)
    subprocess.run(["kill", child.stdout.strip()], check=True)
    assert daemon.running.wait(10) == 0


def test_many_that_wait_share_one_sync(daemon: Daemon) -> None:
    """Group commit: a hundred barriers at once cost a few syncs."""
    client = daemon.client()
    before = daemon.statistics()["log.syncs"]
    requests: list[Mutate | Barrier] = []
    for i in range(100):
        requests += [client.mutation(make_file(b"%d" % i)), Barrier()]
    answers = [client.answer_to(c).reply for c in client.send_many(requests)]
    assert answers.count(Acknowledged()) == 100
    assert daemon.statistics()["log.syncs"] - before < 40


def test_a_barrier_and_a_durable_store_in_one_write_are_both_answered(daemon: Daemon) -> None:
    """In whatever order."""
    client = daemon.client()
    number = client.make(b"f").number
    store = client.send(client.storing(number, 0, b"z" * 10_000, durable=True), b"z" * 10_000)
    barrier = client.send(Barrier())
    assert client.answer_to(barrier).reply == Acknowledged()
    assert isinstance(client.answer_to(store).reply, Stored)
