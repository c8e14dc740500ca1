"""Which protection a file has: set on a directory or file itself, and handed down by copy to what is made in it.

A row of table P says that it was set right there; such an inode's own value is the row's, and what stands above it
does not reach it. Everything else has a copy, which a conversion changes inode by inode (dwd.namespace.converting).
A file that moves to another directory has that directory's from then on; a directory takes along what it has.
"""

import errno
from collections.abc import Iterable

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import CONVERSIONS_MAX, SHARDS_MAX
from dwd.model.protection import Protection
from dwd.namespace import keys
from dwd.namespace.commands import DropConversion, PutConversion, SetPolicy, SetProtection
from dwd.namespace.outcomes import Done
from dwd.namespace.records import ConversionRecord, PolicyRecord
from dwd.namespace.state import State


def set_protection(state: State, op: SetProtection) -> Done:
    """Hand a value down to one inode."""
    inode = _carrier(state, op.number)
    _check(op.protection)
    stale = op.changed not in {0, inode.changed}
    if stale or inode.protection == op.protection or has_own(state, inode):
        return Done((inode,))
    return Done((state.change(inode, protection=op.protection),))


def set_policy(state: State, op: SetPolicy) -> Done:
    """Set a value on an inode itself, or take it away; what is below follows by a conversion."""
    inode = _carrier(state, op.number)
    _check(op.protection)
    own = _own(state, inode)
    if op.protection is None:
        if own is not None:
            state.delete(keys.policy(inode.number))
        return Done((_changed(state, inode, _inherited(state, inode)),))
    if own is None or own.protection != op.protection:
        state.put_policy(
            inode.number, PolicyRecord(state.index, op.protection, None if own is None else own.protection)
        )
    return Done((_changed(state, inode, op.protection),))


def _carrier(state: State, number: InodeNumber) -> Inode:
    """A file or directory with a name: nothing else has bytes to protect."""
    inode = state.inode(number)
    if inode.links == 0:
        raise NamespaceRefusal(errno.ENOENT)
    if not (inode.is_directory or inode.is_regular):
        raise NamespaceRefusal(errno.EINVAL)
    return inode


def _check(protection: Protection | None) -> None:
    if protection is None:
        return
    if not (protection.k >= 1 and protection.m >= 0 and protection.width <= SHARDS_MAX):
        raise NamespaceRefusal(errno.EINVAL)


def _own(state: State, inode: Inode) -> PolicyRecord | None:
    """A row of table P is not looked for where there can be none."""
    return None if inode.protection is None else state.policy(inode.number)


def has_own(state: State, inode: Inode) -> bool:
    """Whether a protection was set on this inode itself."""
    return _own(state, inode) is not None


def effective(state: State, number: InodeNumber, default: Protection) -> Protection:
    """What the bytes of a file are to be stored at; `default` is the volume's."""
    inode = state.find_inode(number)
    return default if inode is None or inode.protection is None else inode.protection


def strongest(protections: Iterable[Protection], default: Protection) -> Protection:
    """The one that survives most losses, and of those the one in the fewest pieces."""
    return max(protections, key=lambda one: (one.m, -one.k), default=default)


def _inherited(state: State, inode: Inode) -> Protection | None:
    """What a directory has without a policy. A file does not know its own: its value stays until one is handed down."""
    if not inode.is_directory:
        return inode.protection
    return None if inode.number == ROOT else state.inode(inode.parent).protection


def _changed(state: State, inode: Inode, protection: Protection | None) -> Inode:
    return inode if inode.protection == protection else state.change(inode, protection=protection)


def on_arrival(state: State, moved: Inode, parent: Inode) -> Protection | None:
    """What an inode has once it has moved into `parent`."""
    if not moved.is_regular or moved.protection == parent.protection or has_own(state, moved):
        return moved.protection
    return parent.protection


def forget(state: State, inode: Inode) -> None:
    """An inode lost its last name: nobody can ask for its policy any more. Its value stays, for it may be open."""
    if has_own(state, inode):
        state.delete(keys.policy(inode.number))
    state.drop_conversion(inode.number)


def put_conversion(state: State, op: PutConversion) -> Done:
    """Begin one, or change it; how long it has been going on is counted from the first."""
    inode = _carrier(state, op.number)
    _check(op.protection)
    _check(op.previous)
    known = state.conversion(inode.number)
    if known is None and len(state.converting) >= CONVERSIONS_MAX:
        raise NamespaceRefusal(errno.EOVERFLOW)
    started = state.time if known is None else known.started
    state.put_conversion(ConversionRecord(state.index, inode.number, op.protection, op.previous, op.state, started))
    return Done()


def drop_conversion(state: State, op: DropConversion) -> Done:
    """Forget one."""
    state.drop_conversion(op.number)
    return Done()
