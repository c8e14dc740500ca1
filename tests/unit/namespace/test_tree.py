"""Names: what POSIX asks of each operation, in outcomes, counts and times."""

import errno
import stat

import pytest

from dwd.model.checks import InvariantViolated
from dwd.model.ids import ROOT, InodeNumber, SegmentId
from dwd.model.limits import LINKS_MAX
from dwd.namespace.commands import Link, MakeNode, RemoveDirectory, Rename, Unlink
from tests.unit.namespace.volume import DIRECTORY, FILE, LINK, STEP_NS, Volume

NOWHERE = InodeNumber(999)


def make(volume: Volume, **fields: object) -> MakeNode:
    """A MakeNode of a file, with other values in some fields."""
    values = {"parent": ROOT, "name": b"f", "number": volume.next_number, "mode": FILE, "uid": 5, "gid": 6} | fields
    return MakeNode(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [b"a", b"\xff\xfe", b"x" * 255, b"...", b" ", b"\n", "ü".encode()])
def test_any_bytes_are_a_name(volume: Volume, name: bytes) -> None:
    """Every name but the two dots, of 1 to 255 bytes without slash and NUL, can be made, found, moved and removed."""
    made = volume.make(name)
    assert volume.find(name) == made
    volume.do(Rename(ROOT, name, ROOT, b"moved"))
    volume.do(Rename(ROOT, b"moved", ROOT, name))
    volume.do(Unlink(ROOT, name))
    assert volume.find(name) is None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (b"", errno.EINVAL),
        (b".", errno.EINVAL),
        (b"..", errno.EINVAL),
        (b"a/b", errno.EINVAL),
        (b"a\0b", errno.EINVAL),
        (b"x" * 256, errno.ENAMETOOLONG),
    ],
)
def test_what_is_no_name(volume: Volume, name: bytes, number: int) -> None:
    """What cannot be a name is refused wherever one would be made."""
    file = volume.make(b"f")
    assert volume.refused(make(volume, name=name)) == number
    assert volume.refused(Link(file.number, ROOT, name)) == number
    assert volume.refused(Rename(ROOT, b"f", ROOT, name)) == number


def test_new_file(volume: Volume) -> None:
    """A new inode has the caller's owner, one link, the command's time; the directory counts and ages."""
    root = volume.inode(ROOT)
    done = volume.do(make(volume, name=b"f"))
    file, directory = done.inodes
    assert (file.mode, file.links, file.uid, file.gid, file.size, file.parent) == (FILE, 1, 5, 6, 0, 0)
    assert file.atime == file.mtime == file.ctime == directory.mtime == directory.ctime == volume.now
    assert (directory.size, directory.links, directory.atime) == (1, 2, root.atime)
    assert file.changed == directory.changed == len(volume.log)
    assert volume.state.volume.inodes == 2


def test_new_directory(volume: Volume) -> None:
    """A directory has two links and its parent's number, and is a link of its parent."""
    directory, parent = volume.do(make(volume, name=b"d", mode=DIRECTORY)).inodes
    assert (directory.links, directory.parent, directory.size) == (2, ROOT, 0)
    assert (parent.links, parent.size) == (3, 1)


def test_setgid_directory_hands_its_group_down(volume: Volume) -> None:
    """Below a directory with setgid all gets its group, and directories the bit too."""
    above = volume.do(make(volume, name=b"d", mode=DIRECTORY | stat.S_ISGID, gid=77)).inodes[0].number
    file = volume.do(make(volume, parent=above, name=b"f")).inodes[0]
    directory = volume.do(make(volume, parent=above, name=b"d", mode=DIRECTORY)).inodes[0]
    assert (file.gid, bool(file.mode & stat.S_ISGID)) == (77, False)
    assert (directory.gid, bool(directory.mode & stat.S_ISGID)) == (77, True)


def test_special_files(volume: Volume) -> None:
    """A device keeps its number and a link its target; nothing else has either."""
    device = volume.do(make(volume, name=b"dev", mode=stat.S_IFBLK | 0o600, device=0x801)).inodes[0]
    fifo = volume.do(make(volume, name=b"fifo", mode=stat.S_IFIFO | 0o600, device=5)).inodes[0]
    directory = volume.do(make(volume, name=b"d", mode=DIRECTORY, device=5)).inodes[0]
    link = volume.do(make(volume, name=b"l", mode=LINK, target=b"\xffto")).inodes[0]
    assert (device.device, fifo.device, directory.device) == (0x801, 0, 0)
    assert (link.target, link.size) == (b"\xffto", 3)


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"mode": 0o644}, errno.EINVAL),
        ({"mode": -1}, errno.EINVAL),
        ({"mode": 1 << 40}, errno.EINVAL),
        ({"mode": 0o170000}, errno.EINVAL),
        ({"target": b"no link"}, errno.EINVAL),
        ({"mode": DIRECTORY, "target": b"no link"}, errno.EINVAL),
        ({"mode": LINK}, errno.ENOENT),
        ({"mode": LINK, "target": b"a\0b"}, errno.EINVAL),
        ({"mode": LINK, "target": b"x" * 4096}, errno.ENAMETOOLONG),
        ({"name": b"there"}, errno.EEXIST),
        ({"parent": NOWHERE}, errno.ENOENT),
        ({"parent": InodeNumber(2)}, errno.ENOTDIR),
    ],
)
def test_make_refusals(volume: Volume, fields: dict[str, object], number: int) -> None:
    """What cannot be made is refused with POSIX's error, whatever numbers a mount sends."""
    assert volume.make(b"there").number == 2
    assert volume.refused(make(volume, **fields)) == number


def test_longest_target(volume: Volume) -> None:
    """A link's target may have 4095 bytes."""
    assert volume.make(b"l", LINK, target=b"x" * 4095).size == 4095


def test_numbers_are_never_given_twice(volume: Volume) -> None:
    """A number that was used, even by what is gone, is a bug of the daemon's (invariant N1)."""
    used = volume.make(b"f").number
    volume.do(Unlink(ROOT, b"f"))
    with pytest.raises(InvariantViolated, match="N1"):
        volume.outcome(make(volume, name=b"g", number=used))


def test_link(volume: Volume) -> None:
    """A second name leads to the same inode, counts, and changes its ctime only."""
    file = volume.make(b"f")
    linked, directory = volume.do(Link(file.number, ROOT, b"g")).inodes
    assert volume.find(b"g") == linked
    assert (linked.links, linked.ctime, linked.mtime) == (2, volume.now, file.mtime)
    assert directory.size == 2
    left = volume.do(Unlink(ROOT, b"f"))
    assert (left.inodes[0].links, left.orphans) == (1, ())


def test_link_refusals(volume: Volume) -> None:
    """Directories, orphans, absent inodes and taken names cannot be linked."""
    file, directory = volume.make(b"f"), volume.make(b"d", DIRECTORY)
    assert volume.refused(Link(directory.number, ROOT, b"x")) == errno.EPERM
    assert volume.refused(Link(NOWHERE, ROOT, b"x")) == errno.ENOENT
    assert volume.refused(Link(file.number, ROOT, b"d")) == errno.EEXIST
    assert volume.refused(Link(file.number, file.number, b"x")) == errno.ENOTDIR
    volume.do(Unlink(ROOT, b"f"))
    assert volume.refused(Link(file.number, ROOT, b"x")) == errno.ENOENT


def test_link_count_is_bounded() -> None:
    """The name after the last that a count may have is refused with EMLINK."""
    volume = Volume()
    file = volume.make(b"f")
    volume.state.change(file, links=LINKS_MAX)
    assert volume.refused(Link(file.number, ROOT, b"g")) == errno.EMLINK


def test_unlink_makes_an_orphan(volume: Volume) -> None:
    """The last name gone, the inode stays, without links, until it is reaped; ctime and directory age."""
    file = volume.make(b"f")
    done = volume.do(Unlink(ROOT, b"f"))
    gone, directory = done.inodes
    assert done.orphans == (file.number,)
    assert (gone.links, gone.ctime, gone.mtime) == (0, volume.now, file.mtime)
    assert (directory.size, directory.mtime) == (0, volume.now)
    assert volume.state.is_orphan(file.number)
    assert volume.inode(file.number) == gone


def test_unlink_refusals(volume: Volume) -> None:
    """Directories and absent names cannot be unlinked."""
    volume.make(b"d", DIRECTORY)
    file = volume.make(b"f").number
    assert volume.refused(Unlink(ROOT, b"d")) == errno.EISDIR
    assert volume.refused(Unlink(ROOT, b"x")) == errno.ENOENT
    assert volume.refused(Unlink(file, b"x")) == errno.ENOTDIR
    assert volume.refused(Unlink(NOWHERE, b"x")) == errno.ENOENT


def test_remove_directory(volume: Volume) -> None:
    """Only an empty directory goes; its parent loses an entry and a link, and nothing can be made in what is left."""
    above = volume.make(b"d", DIRECTORY).number
    volume.make(b"f", parent=above)
    assert volume.refused(RemoveDirectory(ROOT, b"d")) == errno.ENOTEMPTY
    volume.do(Unlink(above, b"f"))
    done = volume.do(RemoveDirectory(ROOT, b"d"))
    assert (done.inodes[0].links, done.orphans) == (0, (above,))
    assert (done.inodes[1].size, done.inodes[1].links) == (0, 2)
    assert volume.refused(make(volume, parent=above)) == errno.ENOENT
    assert volume.refused(Unlink(above, b"f")) == errno.ENOENT


def test_remove_directory_refusals(volume: Volume) -> None:
    """What is no directory, or not there, is not removed as one."""
    volume.make(b"f")
    assert volume.refused(RemoveDirectory(ROOT, b"f")) == errno.ENOTDIR
    assert volume.refused(RemoveDirectory(ROOT, b"x")) == errno.ENOENT


KINDS = {"none": 0, "file": FILE, "link": LINK, "empty": DIRECTORY, "full": DIRECTORY}


@pytest.mark.parametrize("where", ["same", "other"])
@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", ["file", "link", "empty", "full"])
def test_rename_matrix(volume: Volume, source: str, target: str, where: str) -> None:
    """Each kind onto each kind, in one directory and between two: moved, or refused with POSIX's error."""
    other = volume.make(b"other", DIRECTORY).number
    into = ROOT if where == "same" else other
    moved = build(volume, source, ROOT, b"from")
    victim = build(volume, target, into, b"to")
    move = Rename(ROOT, b"from", into, b"to")
    wanted = 0
    if victim:
        if source in {"file", "link"}:
            wanted = errno.EISDIR if target in {"empty", "full"} else 0
        else:
            wanted = {"file": errno.ENOTDIR, "link": errno.ENOTDIR, "full": errno.ENOTEMPTY}.get(target, 0)
        assert volume.refused(Rename(ROOT, b"from", into, b"to", replace=False)) == errno.EEXIST
    if wanted:
        assert volume.refused(move) == wanted
        return
    done = volume.do(move)
    arrived = volume.find(b"to", into)
    assert arrived == done.inodes[0]
    assert arrived is not None
    assert (arrived.number, arrived.ctime) == (moved, volume.now)
    assert arrived.parent == (into if arrived.is_directory else 0)
    assert volume.find(b"from") is None
    assert done.orphans == ((victim,) if victim else ())
    assert {i.number for i in done.inodes} == {moved, ROOT, into} | ({victim} if victim else set())
    for inode in done.inodes:
        assert inode == volume.inode(inode.number)
    assert volume.inode(ROOT).mtime == volume.inode(into).mtime == volume.now


def build(volume: Volume, kind: str, parent: InodeNumber, name: bytes) -> InodeNumber:
    """A node of a kind of the matrix; 0 for none."""
    if kind == "none":
        return InodeNumber(0)
    made = volume.make(name, KINDS[kind], parent)
    if kind == "full":
        volume.make(b"inside", parent=made.number)
    return made.number


def test_rename_onto_itself(volume: Volume) -> None:
    """A name onto another name of the same inode, or onto itself, does nothing."""
    file = volume.make(b"f")
    volume.do(Link(file.number, ROOT, b"g"))
    before = volume.inode(file.number)
    for name in (b"f", b"g"):
        assert volume.do(Rename(ROOT, b"f", ROOT, name)).inodes == (before,)
        assert volume.do(Rename(ROOT, b"f", ROOT, name, exchange=True)).inodes == (before,)
    assert volume.find(b"f") == volume.find(b"g") == before
    assert volume.refused(Rename(ROOT, b"f", ROOT, b"f", replace=False)) == errno.EEXIST


def test_rename_keeps_a_linked_victim(volume: Volume) -> None:
    """A replaced name of a file that has another is no orphan."""
    file = volume.make(b"f")
    volume.do(Link(file.number, ROOT, b"g"))
    volume.make(b"new")
    assert volume.do(Rename(ROOT, b"new", ROOT, b"g")).orphans == ()
    assert volume.inode(file.number).links == 1


def test_no_cycle(volume: Volume) -> None:
    """A directory is moved neither into itself nor below, nor by an exchange."""
    a = volume.make(b"a", DIRECTORY).number
    b = volume.make(b"b", DIRECTORY, a).number
    volume.make(b"c", DIRECTORY, b)
    for into in (a, b):
        assert volume.refused(Rename(ROOT, b"a", into, b"x")) == errno.EINVAL
    assert volume.refused(Rename(ROOT, b"a", b, b"c", exchange=True)) == errno.EINVAL
    assert volume.refused(Rename(b, b"c", ROOT, b"a", exchange=True)) == errno.EINVAL
    assert volume.refused(Rename(b, b"c", ROOT, b"a")) == errno.ENOTEMPTY


def test_rename_refusals(volume: Volume) -> None:
    """Absent names and directories are refused."""
    file = volume.make(b"f").number
    assert volume.refused(Rename(ROOT, b"x", ROOT, b"y")) == errno.ENOENT
    assert volume.refused(Rename(ROOT, b"f", NOWHERE, b"y")) == errno.ENOENT
    assert volume.refused(Rename(ROOT, b"f", file, b"y")) == errno.ENOTDIR
    assert volume.refused(Rename(ROOT, b"f", ROOT, b"y", exchange=True)) == errno.ENOENT


@pytest.mark.parametrize("where", ["same", "other"])
@pytest.mark.parametrize("right", ["file", "empty", "full"])
@pytest.mark.parametrize("left", ["file", "empty", "full"])
def test_exchange_matrix(volume: Volume, left: str, right: str, where: str) -> None:
    """Any two kinds swap, directories with their content; every count stays true (the survey says so)."""
    other = volume.make(b"other", DIRECTORY).number
    into = ROOT if where == "same" else other
    one, two = build(volume, left, ROOT, b"one"), build(volume, right, into, b"two")
    done = volume.do(Rename(ROOT, b"one", into, b"two", exchange=True))
    there, here = volume.find(b"two", into), volume.find(b"one")
    assert there is not None
    assert here is not None
    assert (there.number, here.number) == (one, two)
    assert done.inodes[:2] == (there, here)
    assert done.orphans == ()
    assert all(volume.inode(i.number) == i for i in done.inodes)
    assert there.ctime == here.ctime == volume.now


def test_time_is_the_commands(volume: Volume) -> None:
    """Two commands one step apart leave times one step apart: nothing else is a clock."""
    first, second = volume.make(b"a"), volume.make(b"b")
    assert second.mtime - first.mtime == STEP_NS


def test_no_segment_is_touched(volume: Volume) -> None:
    """Names carry no bytes: moving a file leaves its segment as it was."""
    file = volume.make(b"f").number
    volume.write(file, 0, b"abc")
    before = volume.state.find_segment(SegmentId(next(iter(volume.written))))
    volume.do(Rename(ROOT, b"f", ROOT, b"g"))
    assert volume.state.find_segment(SegmentId(next(iter(volume.written)))) == before
