"""apply(): one command, one outcome. Total and deterministic: the same log gives the same store, byte for byte.

A refusal is an outcome, and changes nothing but the session's memory of it (invariant N6).
"""

import errno
import stat
from typing import assert_never

from dwd.model.checks import invariant
from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, Epoch, LogIndex
from dwd.model.inode import Inode
from dwd.namespace import attributes, bricks, commands, files, policies, sessions, tree
from dwd.namespace.commands import Command, Operation
from dwd.namespace.outcomes import Done, Outcome, Refused
from dwd.namespace.state import State


def _open_epoch(state: State) -> Done:
    state.volume.epoch = Epoch(state.volume.epoch + 1)
    return Done(value=state.volume.epoch)


def _make_volume(state: State, op: commands.MakeVolume) -> Done:
    """The root directory; a volume is made once."""
    if state.exists:
        raise NamespaceRefusal(errno.EEXIST)
    state.volume.seed = op.seed
    state.volume.created = state.time
    state.volume.next_number = ROOT + 1
    state.volume.inodes = 1
    now = state.time
    mode = stat.S_IFDIR | stat.S_IMODE(op.mode)
    root = Inode(state.index, ROOT, mode, 2, op.uid, op.gid, now, now, now, parent=ROOT)
    return Done((state.put_inode(root),))


def apply(state: State, index: LogIndex, command: Command) -> Outcome:
    """Change the state as the command at `index` says, and tell what came of it."""
    state.begin(index, command.time)
    if not command.session:
        return _perform(state, command)
    kept = sessions.recall(state, command)
    if kept is not None:
        return kept
    outcome = _perform(state, command)
    sessions.remember(state, command, outcome)
    return outcome


def _perform(state: State, command: Command) -> Outcome:
    writes = state.writes
    try:
        done = _dispatch(state, command.operation)
    except NamespaceRefusal as refusal:
        invariant(state.writes == writes, "N6", command)
        return Refused(refusal.number)
    if state.writes != writes or isinstance(command.operation, commands.OpenEpoch):
        state.put_volume()
    return done


def _dispatch(state: State, operation: Operation) -> Done:  # noqa: C901, PLR0911, PLR0912 - one line a command
    match operation:
        case commands.MakeNode():
            return tree.make_node(state, operation)
        case commands.StoreData():
            return files.store_data(state, operation)
        case commands.SetAttributes():
            return attributes.set_attributes(state, operation)
        case commands.Unlink():
            return tree.unlink(state, operation)
        case commands.Rename():
            return tree.rename(state, operation)
        case commands.Link():
            return tree.link(state, operation)
        case commands.RemoveDirectory():
            return tree.remove_directory(state, operation)
        case commands.SetXattr():
            return attributes.set_xattr(state, operation)
        case commands.RemoveXattr():
            return attributes.remove_xattr(state, operation)
        case commands.Relocate():
            return files.relocate(state, operation)
        case commands.Reap():
            return files.reap(state, operation)
        case commands.ForgetSegments():
            return files.forget_segments(state, operation)
        case commands.OpenSession():
            return sessions.open_session(state, operation)
        case commands.CloseSession():
            return sessions.close_session(state, operation)
        case commands.OpenEpoch():
            return _open_epoch(state)
        case commands.MakeVolume():
            return _make_volume(state, operation)
        case commands.SetProtection():
            return policies.set_protection(state, operation)
        case commands.SetPolicy():
            return policies.set_policy(state, operation)
        case commands.Rehouse():
            return bricks.rehouse(state, operation)
        case commands.PutBrick():
            return bricks.put_brick(state, operation)
        case commands.PutConversion():
            return policies.put_conversion(state, operation)
        case commands.DropConversion():
            return policies.drop_conversion(state, operation)
        case commands.NoteScrub():
            return bricks.note_scrub(state, operation)
        case _:
            assert_never(operation)
