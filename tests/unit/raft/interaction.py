"""A small language for conversations among nodes, so that they can be read, and compared with what they were.

A script is a sequence of blocks: comment lines with #, one command, a line ----, what the command printed. Commands:

    nodes N | join N [witness]          make the group; start a node that knows nobody
    stand N                             let time pass for N until it stands for election
    tick N [TIMES]                      let time pass for N, which then acts
    propose N DATA... | flood N COUNT | change N WHAT=NODE... | transfer N TO | read N
    turn N | deliver [A->B]... | lose [A->B]... | settle
    isolate N... | heal | restart N | snapshot N | compact N INDEX | report N ABOUT ok|failed|unreachable
    status | log N | quiet | loud       quiet: print nothing until loud

`python -m tests.unit.raft.interaction FILE...` writes what the commands print now into the files.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from dwd.model.errors import Refusal
from dwd.model.ids import LogIndex, NodeId
from dwd.raft.configuration import ChangeKind, Configuration, MemberChange, decode_configuration
from dwd.raft.node import Role
from dwd.raft.types import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadReply,
    ReadRequest,
    Ready,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.unit.raft.cluster import Cluster

RULE: Final = "----"


@attrs.frozen
class Block:
    """A command, the comments before it and what it printed."""

    comments: tuple[str, ...]
    command: str
    output: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*self.comments, self.command, RULE, *self.output, ""])


def read_script(text: str) -> Iterator[Block]:
    """The blocks of a script."""
    comments: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line:
            continue
        if line.startswith("#"):
            comments.append(line)
            continue
        assert next(lines) == RULE, f"{line!r} is not followed by {RULE}"
        output = []
        for printed in lines:
            if not printed:
                break
            output.append(printed)
        yield Block(tuple(comments), line, tuple(output))
        comments = []


def show_configuration(configuration: Configuration) -> str:
    """Who is who."""
    parts = [("voters", configuration.voters), ("outgoing", configuration.outgoing)]
    parts += [("learners", configuration.learners), ("learners-next", configuration.learners_next)]
    parts += [("witnesses", configuration.witnesses)]
    return " ".join(f"{name}={','.join(map(str, nodes))}" for name, nodes in parts if nodes) or "nobody"


def show_entry(entry: Entry) -> str:
    """index@term and content."""
    content = entry.data.decode() if entry.kind is EntryKind.COMMAND else "no-op"
    if entry.kind is EntryKind.CONFIGURATION:
        content = f"({show_configuration(decode_configuration(entry.data))})"
    return f"{entry.index}@{entry.term} {content}"


def show_message(message: Message) -> str:
    """One line."""
    head = f"{message.sender}->{message.to} {type(message).__name__} term {message.term}"
    said = show_election(message) or show_replication(message) or show_rest(message)
    return f"{head}: {said}" if said else head


def show_election(message: Message) -> str:
    """What it says, if it is about who leads."""
    match message:
        case VoteRequest():
            return f"last {message.last_index}@{message.last_term}" + " pre" * message.pre + " forced" * message.forced
        case VoteReply():
            return ("granted" if message.granted else "refused") + " pre" * message.pre
        case TimeoutNow(gives_up_lease=True):
            return "lease given up"
        case _:
            return ""


def show_replication(message: Message) -> str:
    """What it says, if it is about the log."""
    match message:
        case Append():
            entries = "".join(f", {show_entry(entry)}" for entry in message.entries)
            return f"behind {message.previous_index}@{message.previous_term}{entries}; commit {message.commit}"
        case AppendReply(accepted=True):
            return f"has {message.index}"
        case AppendReply():
            return f"lacks {message.index}, perhaps {message.hint_index}@{message.hint_term}"
        case InstallSnapshot(manifest=manifest):
            return f"{manifest.index}@{manifest.term} ({show_configuration(manifest.configuration)})"
        case _:
            return ""


def show_rest(message: Message) -> str:
    """What it says, if it is a sign of life or about reads."""
    match message:
        case Heartbeat():
            return f"commit {message.commit}" + f" round {message.round}" * bool(message.round)
        case HeartbeatReply():
            return f"round {message.round}" * bool(message.round)
        case ReadRequest():
            return f"question {message.context.number}"
        case ReadReply():
            return f"question {message.context.number}: {message.index}"
        case _:
            return ""


def show_ready(number: int, ready: Ready) -> Iterator[str]:
    """What a node wrote and applied; what it sent is shown when it arrives."""
    state = ready.hard_state
    if state is not None:
        entries = "".join(f", {show_entry(entry)}" for entry in ready.entries)
        synced = "sync" if ready.must_sync else "no sync"
        yield f"{number} writes term {state.term} vote {state.vote} commit {state.commit}{entries} ({synced})"
    if ready.snapshot is not None:
        yield f"{number} installs {ready.snapshot.index}@{ready.snapshot.term}"
    for entry in ready.committed:
        yield f"{number} applies {show_entry(entry)}"
    for answer in ready.reads:
        yield f"{number} may read at {answer.index} (question {answer.context.number})"


class Interaction:
    """Runs commands on a cluster, and says what happened."""

    def __init__(self) -> None:
        self.cluster = Cluster(1)
        self.printed: list[str] = []
        self.is_quiet = False

    def run(self, command: str) -> tuple[str, ...]:
        """One command; what it printed."""
        verb, *words = command.split()
        does: Callable[..., None] = getattr(self, f"do_{verb}")
        self.printed = []
        try:
            does(*words)
        except Refusal as refusal:
            self.printed.append(f"{refusal.code}: {refusal}")
        if verb in ("quiet", "loud"):
            return ("ok",)
        return ("ok",) if self.is_quiet else tuple(self.printed) or ("ok",)

    def do_quiet(self) -> None:
        """Print nothing from here on."""
        self.is_quiet = True

    def do_loud(self) -> None:
        """Print again."""
        self.is_quiet = False

    def do_nodes(self, size: str) -> None:
        """Make the group."""
        self.cluster = Cluster(int(size))

    def do_join(self, number: str, kind: str = "") -> None:
        """Start a node that knows nobody."""
        self.cluster.join(int(number), witness=kind == "witness")

    def do_stand(self, number: str) -> None:
        """Let time pass until the node stands."""
        node = self.cluster[int(number)]
        for _ in range(100):
            node.tick()
            if node.role is not Role.FOLLOWER and node._member.elections._elapsed == 0:
                break
        self.do_turn(number)

    def do_tick(self, number: str, times: str = "1") -> None:
        """Let time pass."""
        for _ in range(int(times)):
            self.cluster[int(number)].tick()
            self.do_turn(number)

    def do_propose(self, number: str, *data: str) -> None:
        """Add commands."""
        index = self.cluster[int(number)].propose([word.encode() for word in data])
        self.printed.append(f"up to {index}")

    def do_flood(self, number: str, count: str) -> None:
        """Add commands one by one, so that each has messages of its own."""
        for data in range(int(count)):
            self.cluster[int(number)].propose([b"%d" % data])

    def do_change(self, number: str, *words: str) -> None:
        """Change the members."""
        changes = []
        for word in words:
            kind, node = word.split("=")
            changes.append(MemberChange(ChangeKind[kind.upper()], NodeId(int(node))))
        index = self.cluster[int(number)].propose_change(changes)
        self.printed.append(f"at {index}: {show_configuration(self.cluster[int(number)].configuration)}")

    def do_transfer(self, number: str, target: str) -> None:
        """Hand over."""
        self.cluster[int(number)].transfer(NodeId(int(target)))

    def do_read(self, number: str) -> None:
        """Ask how far the log is."""
        self.printed.append(f"question {self.cluster[int(number)].read_index().number}")

    def do_turn(self, number: str) -> None:
        """Let a node do what is ready."""
        for ready in self.cluster.turn(int(number)):
            self.printed += show_ready(int(number), ready)

    def do_deliver(self, *ways: str) -> None:
        """Bring messages, all or those of these ways; the receivers do not act yet."""
        self.printed += [show_message(message) for message in self.cluster.deliver(_of(ways))]

    def do_lose(self, *ways: str) -> None:
        """Throw messages away."""
        wanted = _of(ways)
        self.printed += [f"lost {show_message(m)}" for m in self.cluster.network if wanted(m)]
        self.cluster.network = [m for m in self.cluster.network if not wanted(m)]

    def do_settle(self) -> None:
        """Until nothing moves."""
        for _ in range(100):
            for number in self.cluster.members:
                self.do_turn(str(number))
            if not self.cluster.network:
                return
            self.do_deliver()
        raise AssertionError("the cluster does not come to rest")

    def do_isolate(self, *numbers: str) -> None:
        """Cut off."""
        self.cluster.isolate(*map(int, numbers))

    def do_heal(self) -> None:
        """Everyone hears everyone."""
        self.cluster.heal()

    def do_restart(self, number: str) -> None:
        """Begin again with what the disk holds."""
        self.cluster.members[int(number)].restart()

    def do_snapshot(self, number: str) -> None:
        """Take one and offer it."""
        manifest = self.cluster.members[int(number)].take_snapshot()
        self.printed.append(f"{manifest.index}@{manifest.term}")

    def do_compact(self, number: str, index: str) -> None:
        """Drop the front of the log."""
        node = self.cluster[int(number)]
        node.compact(LogIndex(int(index)))
        self.printed.append(f"begins behind {node.log.base_index}")

    def do_report(self, number: str, about: str, what: str) -> None:
        """The shell tells what became of its sending."""
        node, other = self.cluster[int(number)], NodeId(int(about))
        if what == "unreachable":
            node.report_unreachable(other)
        else:
            node.report_snapshot(other, ok=what == "ok")

    def do_status(self) -> None:
        """Everyone's place, and what the leaders know of the others."""
        for number, member in self.cluster.members.items():
            node, log = member.node, member.node.log
            where = f"term {node.term} log {log.base_index + 1}..{log.last_index} commit {log.committed}"
            self.printed.append(f"{number} {node.role.value} {where} {show_configuration(node.configuration)}")
            for other, progress in node.progress.items():
                paused = " paused" * progress.paused
                self.printed.append(f"  {other}: {progress.state.value} {progress.match}<{progress.next}{paused}")

    def do_log(self, number: str) -> None:
        """What a node's log holds."""
        log = self.cluster[int(number)].log
        self.printed += [show_entry(entry) for entry in log.slice(log.base_index + 1, log.last_index, 1 << 30)]


def _of(ways: tuple[str, ...]) -> Callable[[Message], bool]:
    return lambda message: not ways or f"{message.sender}->{message.to}" in ways


def rewritten(text: str) -> str:
    """The script with what its commands print now."""
    interaction = Interaction()
    blocks = [attrs.evolve(block, output=interaction.run(block.command)) for block in read_script(text)]
    return "\n".join(map(str, blocks))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(rewritten(Path(name).read_text()))
