"""All operations on names and bytes, in any order, against a tree of dicts that knows nothing of stores and keys."""

import errno
import stat
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from dwd.model.ids import ROOT, InodeNumber
from dwd.model.protection import Protection
from dwd.namespace.commands import (
    Link,
    MakeNode,
    Operation,
    Reap,
    RemoveDirectory,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetPolicy,
    SetProtection,
    SetXattr,
    Unlink,
)
from dwd.namespace.converting import Position, begin, plan_conversion, plan_policy_walk
from dwd.namespace.outcomes import Done
from dwd.namespace.queries import list_directory, list_xattrs
from dwd.namespace.repacking import plan_inline
from tests.unit.namespace.test_repacking import perform
from tests.unit.namespace.volume import DIRECTORY, FILE, LINK, MIRROR, NONE, RS, Volume

OK = 0
NAMES = st.one_of(st.sampled_from([b"a", b"b", b"c", b"\xff"]), st.binary(max_size=4))
DATA = st.binary(min_size=1, max_size=8)
OFFSETS = st.integers(0, 24)


@dataclass(eq=False)
class Node:
    """A file, directory or link, as the oracle has it."""

    number: InodeNumber
    mode: int
    names: int = 0
    above: "Node | None" = None
    entries: dict[bytes, "Node"] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    protection: Protection | None = None
    policy: Protection | None = None

    @property
    def directory(self) -> bool:
        """Whether it holds names."""
        return stat.S_ISDIR(self.mode)

    @property
    def carries(self) -> bool:
        """Whether it has a protection."""
        return self.directory or stat.S_ISREG(self.mode)

    def reached(self) -> list["Node"]:
        """What a policy on it reaches, itself not among them."""
        found = []
        for node in self.entries.values():
            if node.carries and node.policy is None:
                found += [node, *node.reached()]
        return found

    def moved_to(self, parent: "Node", old: "Node") -> None:
        """A file has its new directory's protection."""
        self.above = parent if self.directory else None
        if stat.S_ISREG(self.mode) and self.policy is None and parent is not old:
            self.protection = parent.protection

    def below(self, other: "Node") -> bool:
        """Whether it is `other` or lies in it."""
        node: Node | None = self
        while node is not None:
            if node is other:
                return True
            node = node.above
        return False


def name_error(name: bytes) -> int:
    """What is wrong with a name."""
    return errno.EINVAL if name in {b"", b".", b".."} or {0, 47} & set(name) else OK


def holds_names(node: Node) -> int:
    """Why it does not, if it does not."""
    return errno.ENOTDIR if not node.directory else OK if node.names else errno.ENOENT


def replace_error(moved: Node, there: Node) -> int:
    """Why one may not take the other's place."""
    if moved.directory != there.directory:
        return errno.ENOTDIR if moved.directory else errno.EISDIR
    return errno.ENOTEMPTY if there.entries else OK


class Namespace(RuleBasedStateMachine):
    """Every rule says what POSIX wants first, then asks the namespace."""

    nodes: Bundle[Node] = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.volume = Volume()
        self.root = Node(ROOT, DIRECTORY, 1)
        self.alive: list[Node] = [self.root]

    @initialize(target=nodes)
    def start(self) -> MultipleResults[Node]:
        """The root; twice, so that it is drawn often; and a directory, so that there are two from the start.

        The directory has a policy, so that most of what moves meets another.
        """
        (directory,) = self.made(self.root, b"d", DIRECTORY)
        self.set_policy(directory, RS)
        return multiple(self.root, self.root, directory)

    def expect(self, wanted: int, operation: Operation) -> bool:
        """Whether it is done; or refused, with this errno, and then nothing changed."""
        if wanted != OK:
            assert self.volume.refused(operation) == wanted
            return False
        self.volume.do(operation)
        return True

    def drop(self, node: Node) -> None:
        """A name less."""
        node.names -= 1
        if not node.names:
            node.policy = None

    def found(self, parent: Node, name: bytes) -> Node | int:
        """What a name leads to, or the errno."""
        if not parent.directory:
            return errno.ENOTDIR
        if not parent.names:
            return errno.ENOENT
        return parent.entries.get(name, errno.ENOENT)

    def free(self, parent: Node, name: bytes) -> int:
        """Whether a name can be made."""
        found = self.found(parent, name)
        if name_error(name) or isinstance(found, Node):
            return name_error(name) or errno.EEXIST
        return found if not parent.directory or not parent.names else OK

    @rule(target=nodes, parent=nodes, name=NAMES, mode=st.sampled_from([FILE, FILE, DIRECTORY, LINK]))
    def make(self, parent: Node, name: bytes, mode: int) -> MultipleResults[Node]:
        """Create."""
        return multiple(*self.made(parent, name, mode))

    def made(self, parent: Node, name: bytes, mode: int) -> list[Node]:
        """The new node; none if it is refused."""
        number = self.volume.next_number
        target = b"t" if mode == LINK else b""
        if not self.expect(self.free(parent, name), MakeNode(parent.number, name, number, mode, 0, 0, 0, target)):
            return []
        inherited = parent.mode & stat.S_ISGID if mode == DIRECTORY else 0
        node = Node(number, mode | inherited, 1, parent if mode == DIRECTORY else None, content=bytearray(target))
        node.protection = parent.protection if node.carries else None
        parent.entries[name] = node
        self.alive.append(node)
        return [node]

    @rule(node=nodes, parent=nodes, name=NAMES)
    def link(self, node: Node, parent: Node, name: bytes) -> None:
        """Another name."""
        wanted = OK if node in self.alive else errno.ENOENT
        wanted = wanted or self.free(parent, name)
        wanted = wanted or (errno.EPERM if node.directory else OK) or (OK if node.names else errno.ENOENT)
        if self.expect(wanted, Link(node.number, parent.number, name)):
            parent.entries[name] = node
            node.names += 1

    @rule(parent=nodes, name=NAMES)
    def unlink(self, parent: Node, name: bytes) -> None:
        """A name less, of no directory."""
        found = self.found(parent, name)
        wanted = found if isinstance(found, int) else errno.EISDIR if found.directory else OK
        if self.expect(wanted, Unlink(parent.number, name)):
            self.drop(parent.entries.pop(name))

    @rule(parent=nodes, name=NAMES)
    def remove_directory(self, parent: Node, name: bytes) -> None:
        """An empty directory less."""
        found = self.found(parent, name)
        if isinstance(found, Node):
            wanted = OK if found.directory else errno.ENOTDIR
            wanted = wanted or (errno.ENOTEMPTY if found.entries else OK)
        else:
            wanted = found
        if self.expect(wanted, RemoveDirectory(parent.number, name)):
            self.drop(parent.entries.pop(name))

    @rule(parent=nodes, name=NAMES, into=nodes, new=NAMES, flag=st.sampled_from(["", "", "exchange", "noreplace"]))
    def rename(self, parent: Node, name: bytes, into: Node, new: bytes, flag: str) -> None:
        """Move, replace, or swap."""
        operation = Rename(parent.number, name, into.number, new, flag != "noreplace", flag == "exchange")
        wanted = self.rename_error(parent, name, into, new, flag)
        if not self.expect(wanted, operation):
            return
        moved, there = parent.entries[name], into.entries.get(new)
        if there is moved:
            return
        del parent.entries[name]
        if flag == "exchange" and there is not None:
            parent.entries[name] = there
            there.moved_to(parent, into)
        elif there is not None:
            self.drop(there)
        into.entries[new] = moved
        moved.moved_to(into, parent)

    @rule(which=st.integers(0, 99), into=st.integers(0, 9), new=NAMES, flag=st.sampled_from(["", "exchange"]))
    def move(self, which: int, into: int, new: bytes, flag: str) -> None:
        """A name that is there to a directory that is there; swapped with one that is there, if there is one."""
        directories = [node for node in self.alive if node.directory and node.names]
        names = [(node, name) for node in directories for name in sorted(node.entries)]
        target = directories[into % len(directories)]
        if names:
            parent, name = names[which % len(names)]
            taken = sorted(target.entries) if flag else []
            self.rename(parent, name, target, taken[which % len(taken)] if taken else new, flag)

    def rename_error(self, parent: Node, name: bytes, into: Node, new: bytes, flag: str) -> int:
        """What POSIX says to a rename; OK: it is done."""
        bad = name_error(name) or name_error(new) or holds_names(parent) or holds_names(into)
        moved, there = parent.entries.get(name), into.entries.get(new)
        if bad or moved is None:
            return bad or errno.ENOENT
        if moved.directory and into.below(moved):
            return errno.EINVAL
        if flag == "exchange":
            return errno.ENOENT if there is None else errno.EINVAL if there.directory and parent.below(there) else OK
        if there is not None and flag == "noreplace":
            return errno.EEXIST
        return OK if there is None or there is moved else replace_error(moved, there)

    @rule(node=nodes, offset=OFFSETS, data=DATA, inline=st.booleans())
    def write(self, node: Node, offset: int, data: bytes, inline: bool) -> None:
        """Bytes of a file, orphans too; whatever is no file any more is passed over."""
        self.volume.write(node.number, offset, data, inline=inline)
        if node in self.alive and stat.S_ISREG(node.mode):
            node.content.extend(bytes(max(0, offset + len(data) - len(node.content))))
            node.content[offset : offset + len(data)] = data

    @rule(node=nodes, size=OFFSETS)
    def truncate(self, node: Node, size: int) -> None:
        """Either way; by an unprivileged caller, so setuid goes, and setgid where the group may execute."""
        wanted = OK if node in self.alive else errno.ENOENT
        wanted = wanted or (errno.EISDIR if node.directory else OK if stat.S_ISREG(node.mode) else errno.EINVAL)
        if self.expect(wanted, SetAttributes(node.number, size=size)):
            node.content.extend(bytes(max(0, size - len(node.content))))
            del node.content[size:]
            node.mode &= ~(stat.S_ISUID | (stat.S_ISGID if node.mode & stat.S_IXGRP else 0))

    @rule(node=nodes, permissions=st.integers(0, 0o7777))
    def chmod(self, node: Node, permissions: int) -> None:
        """The type stays."""
        if self.expect(OK if node in self.alive else errno.ENOENT, SetAttributes(node.number, mode=permissions)):
            node.mode = stat.S_IFMT(node.mode) | permissions

    @rule(node=nodes, name=st.sampled_from([b"user.a", b"user.b"]), value=st.binary(max_size=3))
    def set_xattr(self, node: Node, name: bytes, value: bytes) -> None:
        """An extended attribute."""
        if self.expect(OK if node in self.alive else errno.ENOENT, SetXattr(node.number, name, value)):
            node.xattrs[name] = value

    @rule(node=nodes, name=st.sampled_from([b"user.a", b"user.b"]))
    def remove_xattr(self, node: Node, name: bytes) -> None:
        """One less."""
        wanted = OK if node in self.alive else errno.ENOENT
        if self.expect(wanted or (OK if name in node.xattrs else errno.ENODATA), RemoveXattr(node.number, name)):
            del node.xattrs[name]

    @rule(node=consumes(nodes))
    def reap(self, node: Node) -> None:
        """An orphan goes; what has a name stays, and is drawn no more except by it."""
        done = self.volume.outcome(Reap((node.number,)))
        assert isinstance(done, Done)
        if not node.names and node in self.alive:
            self.alive.remove(node)
            assert self.volume.state.find_inode(node.number) is None

    def protect_error(self, node: Node) -> int:
        """Why it can have no protection."""
        return errno.ENOENT if not node.names else OK if node.carries else errno.EINVAL

    @rule(node=nodes, protection=st.sampled_from([None, MIRROR, RS]))
    def set_policy(self, node: Node, protection: Protection | None) -> None:
        """Set right there, or taken away again."""
        if not self.expect(self.protect_error(node), SetPolicy(node.number, protection)):
            return
        node.policy = protection
        if protection is not None:
            node.protection = protection
        elif node.directory:
            node.protection = None if node.above is None else node.above.protection

    @rule(node=nodes, protection=st.sampled_from([None, MIRROR, RS]))
    def hand_down(self, node: Node, protection: Protection | None) -> None:
        """Void where a policy is."""
        if self.expect(self.protect_error(node), SetProtection(node.number, protection)) and node.policy is None:
            node.protection = protection

    @rule(root=nodes, limit=st.integers(1, 9))
    def convert(self, root: Node, limit: int) -> None:
        """Everything that a policy reaches has the root's, and its bytes lie in segments of it; nobody can tell."""
        pending, state = begin(root.number), self.volume.state
        while pending:
            step = plan_policy_walk(state, root.number, pending, limit)
            pending = step.pending
            for change in step.changes:
                self.volume.do(change)
            at: Position | None = (0, 0)
            while at is not None:
                conversion = plan_conversion(state, step.files, at, NONE)
                at = conversion.following
                if conversion.plan.moves:
                    assert perform(self.volume, conversion.plan) == len(conversion.plan.moves)
        for node in root.reached() if root in self.alive else ():
            node.protection = root.protection
            for _, extent in state.extents(node.number, 0, 100):
                segment = state.find_segment(extent.segment)
                assert segment is None or segment.protection == (root.protection or NONE)
                assert segment is not None or extent.inline

    @rule()
    def repack(self) -> None:
        """Inline bytes move to a segment, and nobody can tell."""
        plan = plan_inline(self.volume.state, NONE)
        if plan.moves:
            assert perform(self.volume, plan) == len(plan.moves)

    @invariant()
    def nothing_is_wrong(self) -> None:
        """The survey is clean, and every node is as the oracle has it."""
        self.volume.check()
        assert self.volume.state.volume.inodes == len(self.alive)
        for node in self.alive:
            inode = self.volume.inode(node.number)
            assert inode.mode == node.mode
            assert inode.protection == node.protection
            policy = self.volume.state.policy(node.number)
            assert (None if policy is None else policy.protection) == node.policy
            assert {
                n: self.volume.state.find_xattr(node.number, n) for n in list_xattrs(self.volume.state, node.number)
            } == node.xattrs
            if node.directory:
                listed, complete = list_directory(self.volume.state, node.number, 0, 1000)
                assert complete
                assert {e.name: e.inode.number for e in listed} == {n: c.number for n, c in node.entries.items()}
                subdirectories = sum(c.directory for c in node.entries.values())
                assert inode.links == (2 + subdirectories if node.names else 0)
            else:
                assert inode.links == node.names
                if stat.S_ISREG(node.mode):
                    assert self.volume.read(node.number) == bytes(node.content)


Namespace.TestCase.settings = settings(max_examples=150, stateful_step_count=40, derandomize=True)
TestNamespace = Namespace.TestCase
