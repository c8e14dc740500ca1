"""Names: make, link, unlink, remove, rename. Each checks everything before it changes anything."""

import errno
import stat
from typing import Final

from dwd.model.checks import invariant
from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import LINKS_MAX, NAME_BYTES_MAX, SYMLINK_BYTES_MAX
from dwd.namespace import acl, policies
from dwd.namespace.commands import Link, MakeNode, RemoveDirectory, Rename, Unlink
from dwd.namespace.outcomes import Done
from dwd.namespace.state import State

_KINDS: Final = frozenset(
    {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK, stat.S_IFCHR}
)
_TYPE_AND_PERMISSIONS: Final = 0o177777


def check_name(name: bytes) -> None:
    """Names are any bytes but slash and NUL, 255 at most; the two dots are nobody's."""
    if len(name) > NAME_BYTES_MAX:
        raise NamespaceRefusal(errno.ENAMETOOLONG)
    if name in {b"", b".", b".."} or b"/" in name or b"\0" in name:
        raise NamespaceRefusal(errno.EINVAL)


def _free_name(state: State, parent: InodeNumber, name: bytes) -> Inode:
    """The directory in which a new name may be made."""
    check_name(name)
    directory = state.directory(parent)
    if state.find_entry(parent, name) is not None:
        raise NamespaceRefusal(errno.EEXIST)
    return directory


def _change_directory(state: State, directory: Inode, entries: int, links: int = 0) -> Inode:
    """Count entries and subdirectories that came or went."""
    return state.change(
        directory,
        size=directory.size + entries,
        links=directory.links + links,
        mtime=state.time,
        ctime=state.time,
    )


def make_node(state: State, make: MakeNode) -> Done:
    """Create anything under a free name."""
    parent = _free_name(state, make.parent, make.name)
    _check_kind(make.mode, make.target)
    invariant(make.number >= state.volume.next_number, "N1", make.number)
    state.volume.next_number = make.number + 1
    state.volume.inodes += 1
    made = state.put_inode(_new_inode(state, make, parent))
    made = _inherit_acl(state, parent, made)
    state.put_entry(parent.number, make.name, made)
    return Done((made, _change_directory(state, parent, 1, links=1 if made.is_directory else 0)))


def _check_kind(mode: int, target: bytes) -> None:
    """Only a symbolic link has a target, and it is a path."""
    if mode & ~_TYPE_AND_PERMISSIONS or stat.S_IFMT(mode) not in _KINDS:
        raise NamespaceRefusal(errno.EINVAL)
    symlink = stat.S_ISLNK(mode)
    if symlink and not target:
        raise NamespaceRefusal(errno.ENOENT)
    if b"\0" in target or (target and not symlink):
        raise NamespaceRefusal(errno.EINVAL)
    if len(target) > SYMLINK_BYTES_MAX:
        raise NamespaceRefusal(errno.ENAMETOOLONG)


def _new_inode(state: State, make: MakeNode, parent: Inode) -> Inode:
    directory = stat.S_ISDIR(make.mode)
    mode, gid = make.mode, make.gid
    if parent.mode & stat.S_ISGID:
        gid = parent.gid
        mode |= stat.S_ISGID if directory else 0
    return Inode(
        changed=state.index,
        number=make.number,
        mode=mode,
        links=2 if directory else 1,
        uid=make.uid,
        gid=gid,
        atime=state.time,
        mtime=state.time,
        ctime=state.time,
        size=len(make.target),
        device=make.device if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else 0,
        parent=parent.number if directory else InodeNumber(0),
        target=make.target,
        protection=parent.protection if directory or stat.S_ISREG(mode) else None,
    )


def _inherit_acl(state: State, parent: Inode, made: Inode) -> Inode:
    """Hand a directory's default list down to what is made in it."""
    if made.is_symlink or not parent.xattr_bytes:
        return made
    raw = state.find_xattr(parent.number, acl.DEFAULT)
    default = None if raw is None else acl.decode_acl(raw)
    if raw is None or default is None:
        return made
    inherited = default.inherited(made.mode)
    kept = {} if inherited.is_minimal else {acl.ACCESS: acl.encode_acl(inherited)}
    if made.is_directory:
        kept[acl.DEFAULT] = raw
    for name, value in kept.items():
        state.put_xattr(made.number, name, value)
    size = sum(len(name) + len(value) for name, value in kept.items())
    return state.change(made, mode=inherited.mode(made.mode), xattr_bytes=size)


def link(state: State, op: Link) -> Done:
    """Give anything but a directory one name more; an orphan cannot come back."""
    inode = state.inode(op.number)
    parent = _free_name(state, op.parent, op.name)
    if inode.is_directory:
        raise NamespaceRefusal(errno.EPERM)
    if inode.links == 0:
        raise NamespaceRefusal(errno.ENOENT)
    if inode.links >= LINKS_MAX:
        raise NamespaceRefusal(errno.EMLINK)
    state.put_entry(parent.number, op.name, inode)
    linked = state.change(inode, links=inode.links + 1, ctime=state.time)
    return Done((linked, _change_directory(state, parent, 1)))


def unlink(state: State, op: Unlink) -> Done:
    """Take a name away; the last one makes an orphan, which lives while somebody holds it."""
    parent = state.directory(op.parent)
    inode = state.inode(state.entry(op.parent, op.name).number)
    if inode.is_directory:
        raise NamespaceRefusal(errno.EISDIR)
    state.delete_entry(op.parent, op.name)
    left = _drop_link(state, inode)
    return Done((left, _change_directory(state, parent, -1)), _orphaned(left))


def remove_directory(state: State, op: RemoveDirectory) -> Done:
    """Take away an empty directory."""
    parent = state.directory(op.parent)
    inode = state.inode(state.entry(op.parent, op.name).number)
    if not inode.is_directory:
        raise NamespaceRefusal(errno.ENOTDIR)
    if inode.size:
        raise NamespaceRefusal(errno.ENOTEMPTY)
    state.delete_entry(op.parent, op.name)
    left = _drop_link(state, inode)
    return Done((left, _change_directory(state, parent, -1, links=-1)), _orphaned(left))


def _drop_link(state: State, inode: Inode) -> Inode:
    """One name less; a directory has only one."""
    links = 0 if inode.is_directory else inode.links - 1
    if links == 0:
        state.put_orphan(inode.number)
        policies.forget(state, inode)
    return state.change(inode, links=links, ctime=state.time)


def _orphaned(inode: Inode) -> tuple[InodeNumber, ...]:
    return () if inode.links else (inode.number,)


def rename(state: State, op: Rename) -> Done:
    """Move a name, replace another, or swap two."""
    check_name(op.name)
    check_name(op.new_name)
    source, target = state.directory(op.parent), state.directory(op.new_parent)
    moved = state.inode(state.entry(op.parent, op.name).number)
    there = state.find_entry(op.new_parent, op.new_name)
    victim = None if there is None else state.inode(there.number)
    _check_no_cycle(state, moved, op.new_parent)
    if op.exchange:
        return _exchange(state, op, moved, victim, source, target)
    if victim is not None and not op.replace:
        raise NamespaceRefusal(errno.EEXIST)
    if victim is not None and victim.number == moved.number:
        return Done((moved,))
    if victim is not None:
        _check_replaceable(moved, victim)
    return _move(state, op, moved, victim, source, target)


def _check_replaceable(moved: Inode, victim: Inode) -> None:
    if moved.is_directory and not victim.is_directory:
        raise NamespaceRefusal(errno.ENOTDIR)
    if victim.is_directory and not moved.is_directory:
        raise NamespaceRefusal(errno.EISDIR)
    if victim.is_directory and victim.size:
        raise NamespaceRefusal(errno.ENOTEMPTY)


def _check_no_cycle(state: State, moved: Inode, into: InodeNumber) -> None:
    """A directory cannot move below itself."""
    if not moved.is_directory:
        return
    above = into
    while above != ROOT:
        if above == moved.number:
            raise NamespaceRefusal(errno.EINVAL)
        above = state.inode(above).parent


def _move(state: State, op: Rename, moved: Inode, victim: Inode | None, source: Inode, target: Inode) -> Done:
    state.delete_entry(op.parent, op.name)
    touched: list[Inode] = []
    orphans: tuple[InodeNumber, ...] = ()
    if victim is not None:
        left = _drop_link(state, victim)
        touched.append(left)
        orphans = _orphaned(left)
    gone = 1 if victim is not None else 0
    lost = 1 if victim is not None and victim.is_directory else 0
    carried = 1 if moved.is_directory else 0
    if op.parent == op.new_parent:
        touched.append(_change_directory(state, source, -gone, links=-lost))
    else:
        touched.append(_change_directory(state, source, -1, links=-carried))
        touched.append(_change_directory(state, target, 1 - gone, links=carried - lost))
    arrived = _arrive(state, moved, target, from_elsewhere=op.parent != op.new_parent)
    state.put_entry(op.new_parent, op.new_name, arrived)
    return Done((arrived, *touched), orphans)


def _arrive(state: State, moved: Inode, parent: Inode, *, from_elsewhere: bool) -> Inode:
    return state.change(
        moved,
        ctime=state.time,
        parent=parent.number if moved.is_directory else InodeNumber(0),
        protection=policies.on_arrival(state, moved, parent) if from_elsewhere else moved.protection,
    )


def _exchange(state: State, op: Rename, moved: Inode, other: Inode | None, source: Inode, target: Inode) -> Done:
    if other is None:
        raise NamespaceRefusal(errno.ENOENT)
    _check_no_cycle(state, other, op.parent)
    if other.number == moved.number:
        return Done((moved,))
    swing = (1 if other.is_directory else 0) - (1 if moved.is_directory else 0)
    apart = op.parent != op.new_parent
    there = _arrive(state, moved, target, from_elsewhere=apart)
    here = _arrive(state, other, source, from_elsewhere=apart)
    state.put_entry(op.parent, op.name, here)
    state.put_entry(op.new_parent, op.new_name, there)
    left = _change_directory(state, state.inode(op.parent), 0, links=swing if apart else 0)
    if not apart:
        return Done((there, here, left))
    return Done((there, here, left, _change_directory(state, state.inode(op.new_parent), 0, links=-swing)))
