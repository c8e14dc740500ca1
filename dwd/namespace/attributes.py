"""Attributes and extended attributes, and the rules that tie them together: privileges, ACL and mode."""

import errno

from dwd.model.errors import NamespaceRefusal
from dwd.model.inode import Inode, without_privileges
from dwd.model.limits import (
    FILE_BYTES_MAX,
    XATTR_BYTES_PER_INODE_MAX,
    XATTR_NAME_BYTES_MAX,
    XATTR_VALUE_BYTES_MAX,
)
from dwd.namespace import acl, keys
from dwd.namespace.commands import RemoveXattr, SetAttributes, SetXattr
from dwd.namespace.files import resize
from dwd.namespace.outcomes import Done
from dwd.namespace.state import State


def set_attributes(state: State, op: SetAttributes) -> Done:
    """Change size, owner, mode and times; ctime follows."""
    inode = state.inode(op.number)
    mode = _new_mode(inode, op)
    if op.size is not None:
        _check_size(inode, op.size)
        inode = resize(state, inode, op.size)
    if op.mode is not None:
        _acl_follows_mode(state, inode, mode)
    mtime = op.mtime if op.mtime is not None else inode.mtime if op.size is None else state.time
    changed = state.change(
        inode,
        mode=mode,
        uid=inode.uid if op.uid is None else op.uid,
        gid=inode.gid if op.gid is None else op.gid,
        atime=inode.atime if op.atime is None else op.atime,
        mtime=mtime,
        ctime=state.time,
    )
    return Done((changed,))


def _new_mode(inode: Inode, op: SetAttributes) -> int:
    """Chmod sets it; chown and an unprivileged truncate take setuid and setgid away, as Linux does."""
    mode = inode.mode if op.mode is None else inode.with_permissions(op.mode)
    chown = op.uid is not None or op.gid is not None
    if not inode.is_directory and op.mode is None and (chown or (op.size is not None and not op.privileged)):
        mode = without_privileges(mode)
    return mode


def _check_size(inode: Inode, size: int) -> None:
    if inode.is_directory:
        raise NamespaceRefusal(errno.EISDIR)
    if not inode.is_regular or size < 0:
        raise NamespaceRefusal(errno.EINVAL)
    if size > FILE_BYTES_MAX:
        raise NamespaceRefusal(errno.EFBIG)


def _acl_follows_mode(state: State, inode: Inode, mode: int) -> None:
    raw = state.find_xattr(inode.number, acl.ACCESS) if inode.xattr_bytes else None
    listed = None if raw is None else acl.decode_acl(raw)
    if listed is not None:
        state.put_xattr(inode.number, acl.ACCESS, acl.encode_acl(listed.with_mode(mode)))


def set_xattr(state: State, op: SetXattr) -> Done:
    """Set an extended attribute; an access list changes the mode too."""
    inode = state.inode(op.number)
    if not 0 < len(op.name) <= XATTR_NAME_BYTES_MAX:
        raise NamespaceRefusal(errno.ERANGE)
    if len(op.value) > XATTR_VALUE_BYTES_MAX:
        raise NamespaceRefusal(errno.E2BIG)
    old = state.find_xattr(inode.number, op.name)
    if old is not None and op.create:
        raise NamespaceRefusal(errno.EEXIST)
    if old is None and op.replace:
        raise NamespaceRefusal(errno.ENODATA)
    if op.name in {acl.ACCESS, acl.DEFAULT}:
        return _set_acl(state, inode, op.name, op.value, old)
    return Done((_keep(state, inode, op.name, op.value, old, inode.mode),))


def _set_acl(state: State, inode: Inode, name: bytes, value: bytes, old: bytes | None) -> Done:
    listed = acl.decode_acl(value)
    if name == acl.DEFAULT and not inode.is_directory:
        raise NamespaceRefusal(errno.EACCES)
    mode = inode.mode
    if name == acl.ACCESS and listed is not None:
        mode = listed.mode(mode)
    if listed is None or (name == acl.ACCESS and listed.is_minimal):
        return Done((_drop(state, inode, name, old, mode),))
    return Done((_keep(state, inode, name, value, old, mode),))


def _keep(state: State, inode: Inode, name: bytes, value: bytes, old: bytes | None, mode: int) -> Inode:
    freed = 0 if old is None else len(name) + len(old)
    total = inode.xattr_bytes - freed + len(name) + len(value)
    if total > XATTR_BYTES_PER_INODE_MAX:
        raise NamespaceRefusal(errno.ENOSPC)
    state.put_xattr(inode.number, name, value)
    return state.change(inode, xattr_bytes=total, mode=mode, ctime=state.time)


def _drop(state: State, inode: Inode, name: bytes, old: bytes | None, mode: int) -> Inode:
    if old is not None:
        state.delete(keys.xattr(inode.number, name))
    freed = 0 if old is None else len(name) + len(old)
    return state.change(inode, xattr_bytes=inode.xattr_bytes - freed, mode=mode, ctime=state.time)


def remove_xattr(state: State, op: RemoveXattr) -> Done:
    """Remove an extended attribute."""
    inode = state.inode(op.number)
    old = state.find_xattr(inode.number, op.name)
    if old is None:
        raise NamespaceRefusal(errno.ENODATA)
    return Done((_drop(state, inode, op.name, old, inode.mode),))
