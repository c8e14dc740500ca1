"""Attributes and extended attributes: privileges, access lists and mode, inheritance, limits."""

import errno
import stat
import struct

import pytest

from dwd.model.ids import ROOT, InodeNumber
from dwd.model.limits import FILE_BYTES_MAX, XATTR_LIST_BYTES_MAX, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX
from dwd.namespace.acl import ACCESS, DEFAULT, decode_acl, encode_acl
from dwd.namespace.commands import RemoveXattr, SetAttributes, SetXattr
from dwd.namespace.queries import list_xattrs
from tests.unit.namespace.volume import DIRECTORY, FILE, LINK, Volume

NOBODY = 0xFFFFFFFF
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
SUID, SGID, GROUP_X = stat.S_ISUID, stat.S_ISGID, stat.S_IXGRP


def acl(*entries: tuple[int, int] | tuple[int, int, int]) -> bytes:
    """A list as the kernel passes it, made by hand."""
    packed = [struct.pack("<HHI", e[0], e[1], e[2] if len(e) == 3 else NOBODY) for e in entries]
    return struct.pack("<I", 2) + b"".join(packed)


NAMED = acl((USER_OBJ, 7), (USER, 5, 1001), (GROUP_OBJ, 4), (MASK, 6), (OTHER, 1))
MINIMAL = acl((USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 0))


def test_only_what_is_given_changes(volume: Volume) -> None:
    """Fields that are None stay; ctime follows every change."""
    file = volume.make(b"f")
    changed = volume.do(SetAttributes(file.number, uid=7)).inodes[0]
    assert (changed.uid, changed.gid, changed.mode, changed.mtime) == (7, file.gid, file.mode, file.mtime)
    assert changed.ctime == volume.now
    changed = volume.do(SetAttributes(file.number, atime=-5, mtime=1 << 62)).inodes[0]
    assert (changed.atime, changed.mtime, changed.ctime) == (-5, 1 << 62, volume.now)


def test_mode_keeps_the_type(volume: Volume) -> None:
    """Chmod cannot make a file a directory."""
    file = volume.make(b"f").number
    assert volume.do(SetAttributes(file, mode=stat.S_IFDIR | 0o7777)).inodes[0].mode == stat.S_IFREG | 0o7777


@pytest.mark.parametrize(
    ("change", "mode", "left"),
    [
        ({"uid": 5}, SUID | SGID | 0o775, 0o775),
        ({"gid": 5}, SUID | SGID | 0o765, SGID | 0o765 if not 0o765 & GROUP_X else 0o765),
        ({"uid": 5}, SUID | SGID | 0o745, SGID | 0o745),
        ({"size": 0}, SUID | SGID | 0o775, 0o775),
        ({"size": 0, "privileged": True}, SUID | SGID | 0o775, SUID | SGID | 0o775),
        ({"uid": 5, "mode": SUID | 0o700}, 0o775, SUID | 0o700),
        ({"mtime": 5}, SUID | 0o755, SUID | 0o755),
    ],
)
def test_privileges_go(volume: Volume, change: dict[str, int], mode: int, left: int) -> None:
    """Chown and an unprivileged truncate take setuid, and setgid where the group may execute; chmod says what stays."""
    file = volume.make(b"f", stat.S_IFREG | mode).number
    assert stat.S_IMODE(volume.do(SetAttributes(file, **change)).inodes[0].mode) == left  # type: ignore[arg-type]


def test_chown_of_a_directory(volume: Volume) -> None:
    """A directory's setgid is no privilege: it stays."""
    directory = volume.make(b"d", DIRECTORY | SGID).number
    assert volume.do(SetAttributes(directory, uid=5)).inodes[0].mode == DIRECTORY | SGID


def test_truncate_sets_mtime(volume: Volume) -> None:
    """A change of size, even to the same size, sets mtime unless one is given."""
    file = volume.make(b"f").number
    assert volume.do(SetAttributes(file, size=0)).inodes[0].mtime == volume.now
    assert volume.do(SetAttributes(file, size=9, mtime=3)).inodes[0].mtime == 3


def test_size_refusals(volume: Volume) -> None:
    """Only a regular file has a size to set, up to FILE_BYTES_MAX."""
    file, directory = volume.make(b"f").number, volume.make(b"d", DIRECTORY).number
    fifo, link = volume.make(b"p", stat.S_IFIFO | 0o600).number, volume.make(b"l", LINK).number
    assert volume.refused(SetAttributes(directory, size=0)) == errno.EISDIR
    assert volume.refused(SetAttributes(fifo, size=0)) == errno.EINVAL
    assert volume.refused(SetAttributes(link, size=0)) == errno.EINVAL
    assert volume.refused(SetAttributes(file, size=-1)) == errno.EINVAL
    assert volume.refused(SetAttributes(file, size=FILE_BYTES_MAX + 1)) == errno.EFBIG
    assert volume.refused(SetAttributes(InodeNumber(99), size=1)) == errno.ENOENT
    assert volume.do(SetAttributes(file, size=FILE_BYTES_MAX)).inodes[0].size == FILE_BYTES_MAX


def test_xattrs(volume: Volume) -> None:
    """Set, replace, list, remove; every byte is counted."""
    file = volume.make(b"f").number
    volume.do(SetXattr(file, b"user.\xff", b"\0value"))
    assert volume.inode(file).xattr_bytes == 12
    volume.do(SetXattr(file, b"user.\xff", b"v"))
    volume.do(SetXattr(file, b"user.b", b""))
    assert volume.inode(file).xattr_bytes == 13
    assert list_xattrs(volume.state, file) == [b"user.b", b"user.\xff"]
    assert volume.state.find_xattr(file, b"user.b") == b""
    volume.do(RemoveXattr(file, b"user.\xff"))
    assert (volume.inode(file).xattr_bytes, volume.inode(file).ctime) == (6, volume.now)


def test_xattr_refusals(volume: Volume) -> None:
    """Create, replace, remove and every limit."""
    file = volume.make(b"f").number
    volume.do(SetXattr(file, b"user.a", b"1", create=True))
    assert volume.refused(SetXattr(file, b"user.a", b"2", create=True)) == errno.EEXIST
    assert volume.refused(SetXattr(file, b"user.b", b"2", replace=True)) == errno.ENODATA
    assert volume.refused(RemoveXattr(file, b"user.b")) == errno.ENODATA
    assert volume.refused(SetXattr(file, b"", b"")) == errno.ERANGE
    assert volume.refused(SetXattr(file, b"x" * (XATTR_NAME_BYTES_MAX + 1), b"")) == errno.ERANGE
    assert volume.refused(SetXattr(file, b"user.b", bytes(XATTR_VALUE_BYTES_MAX + 1))) == errno.E2BIG
    assert volume.refused(SetXattr(InodeNumber(99), b"user.b", b"")) == errno.ENOENT


def test_xattrs_of_one_inode_are_bounded(volume: Volume) -> None:
    """All together have a bound, met with ENOSPC; replacing a value within it is no growth."""
    file = volume.make(b"f").number
    for i in range(15):
        volume.do(SetXattr(file, b"user.%d" % i, bytes(XATTR_VALUE_BYTES_MAX)))
    assert volume.refused(SetXattr(file, b"user.last", bytes(XATTR_VALUE_BYTES_MAX))) == errno.ENOSPC
    volume.do(SetXattr(file, b"user.0", bytes(XATTR_VALUE_BYTES_MAX)))


def test_too_many_names_to_list(volume: Volume) -> None:
    """More names than Linux lets a caller list are refused with E2BIG, before they outgrow a frame."""
    file = volume.make(b"f").number
    count = XATTR_LIST_BYTES_MAX // 256
    for i in range(count):
        volume.do(SetXattr(file, b"%0255d" % i, b""))
    assert len(list_xattrs(volume.state, file)) == count
    volume.do(SetXattr(file, b"x", b""))
    with pytest.raises(Exception, match="E2BIG"):
        list_xattrs(volume.state, file)


def test_access_list_sets_the_mode(volume: Volume) -> None:
    """Owner, mask and other become the mode's bits; setuid stays."""
    file = volume.make(b"f", FILE | SUID).number
    inode = volume.do(SetXattr(file, ACCESS, NAMED)).inodes[0]
    assert stat.S_IMODE(inode.mode) == SUID | 0o761
    assert volume.state.find_xattr(file, ACCESS) == NAMED


def test_minimal_list_is_only_a_mode(volume: Volume) -> None:
    """A list that says no more than a mode is not kept, and takes away the one that was."""
    file = volume.make(b"f").number
    volume.do(SetXattr(file, ACCESS, NAMED))
    inode = volume.do(SetXattr(file, ACCESS, MINIMAL)).inodes[0]
    assert (stat.S_IMODE(inode.mode), inode.xattr_bytes) == (0o640, 0)
    assert volume.state.find_xattr(file, ACCESS) is None


def test_empty_list_removes(volume: Volume) -> None:
    """A list without entries removes the one that is there; the mode stays."""
    file = volume.make(b"f").number
    volume.do(SetXattr(file, ACCESS, NAMED))
    inode = volume.do(SetXattr(file, ACCESS, acl())).inodes[0]
    assert (stat.S_IMODE(inode.mode), inode.xattr_bytes) == (0o761, 0)


def test_chmod_changes_the_list(volume: Volume) -> None:
    """After chmod the list's owner, mask and other say what the mode says; named entries stay."""
    file = volume.make(b"f").number
    volume.do(SetXattr(file, ACCESS, NAMED))
    volume.do(SetAttributes(file, mode=0o604))
    wanted = acl((USER_OBJ, 6), (USER, 5, 1001), (GROUP_OBJ, 4), (MASK, 0), (OTHER, 4))
    assert volume.state.find_xattr(file, ACCESS) == wanted


def test_default_list_is_inherited(volume: Volume) -> None:
    """What is made below gets the default, cut to its mode, as its list; directories keep it as default; links none."""
    above = volume.make(b"d", DIRECTORY).number
    volume.do(SetXattr(above, DEFAULT, NAMED))
    assert stat.S_IMODE(volume.inode(above).mode) == 0o755
    file = volume.make(b"f", stat.S_IFREG | 0o640, above)
    below = volume.make(b"d", stat.S_IFDIR | 0o777, above)
    link = volume.make(b"l", LINK, above)
    cut = acl((USER_OBJ, 6), (USER, 5, 1001), (GROUP_OBJ, 4), (MASK, 4), (OTHER, 0))
    assert volume.state.find_xattr(file.number, ACCESS) == cut
    assert stat.S_IMODE(file.mode) == 0o640
    assert file.xattr_bytes == len(ACCESS) + len(cut)
    assert volume.state.find_xattr(below.number, DEFAULT) == NAMED
    assert below.xattr_bytes == len(ACCESS) + len(DEFAULT) + 2 * len(NAMED)
    assert link.xattr_bytes == 0
    assert list_xattrs(volume.state, file.number) == [ACCESS]


def test_minimal_default(volume: Volume) -> None:
    """A default that names nobody only takes bits from the mode of what is made; the mask is no umask then."""
    above = volume.make(b"d", DIRECTORY).number
    volume.do(SetXattr(above, DEFAULT, MINIMAL))
    file = volume.make(b"f", stat.S_IFREG | 0o666, above)
    assert (stat.S_IMODE(file.mode), file.xattr_bytes) == (0o640, 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\2\0\0",
        struct.pack("<I", 1) + MINIMAL[4:],
        MINIMAL + b"x",
        MINIMAL[:-8],
        MINIMAL + MINIMAL[4:12],
        acl((USER_OBJ, 8), (GROUP_OBJ, 4), (OTHER, 0)),
        acl((USER_OBJ, 7), (USER, 7, 5), (GROUP_OBJ, 4), (OTHER, 0)),
        acl((USER_OBJ, 7), (GROUP_OBJ, 4), (OTHER, 0), (64, 1)),
        acl((USER_OBJ, 7), (GROUP_OBJ, 4), (MASK, 1), (MASK, 1), (OTHER, 0)),
    ],
)
def test_what_is_no_list(volume: Volume, raw: bytes) -> None:
    """A damaged list, or one that misses or doubles an entry, is refused with EINVAL."""
    file = volume.make(b"f").number
    assert volume.refused(SetXattr(file, ACCESS, raw)) == errno.EINVAL


def test_default_needs_a_directory(volume: Volume) -> None:
    """A file cannot have a default list."""
    assert volume.refused(SetXattr(volume.make(b"f").number, DEFAULT, NAMED)) == errno.EACCES


def test_codec_round_trip() -> None:
    """A list is written as it was read."""
    decoded = decode_acl(NAMED)
    assert decoded is not None
    assert encode_acl(decoded) == NAMED


def test_root_has_attributes_too(volume: Volume) -> None:
    """The root is an inode like any other."""
    assert volume.do(SetAttributes(ROOT, mode=0o700)).inodes[0].mode == stat.S_IFDIR | 0o700
