"""Names and attributes: what is asked, what is remembered, and what a change makes void."""

import errno

import pytest
from trio.testing import MockClock

from dwd.model.errors import NamespaceRefusal, Unreachable
from dwd.model.ids import ROOT
from dwd.namespace.commands import Rename, SetAttributes
from dwd.wire.messages import GetInode, GetXattr, ListXattrs, Lookup
from tests.unit.dwfs.engine.conftest import World


async def test_an_inode_is_asked_for_once_while_the_volume_is_ours(world: World, autojump_clock: MockClock) -> None:
    """What an answer said of it is enough; on a shared volume each look asks."""
    made = await world.make()
    for _ in range(3):
        assert (await world.namespace.attributes(made.number)).number == made.number
    assert world.client.asked_for(GetInode) == 0
    world.coherence.recall()
    world.inodes.forget_all()
    for _ in range(3):
        await world.namespace.attributes(made.number)
    assert world.client.asked_for(GetInode) == 3


async def test_dirty_bytes_are_part_of_the_attributes(world: World, autojump_clock: MockClock) -> None:
    """Size and blocks, before they are stored."""
    _, fh = await world.open()
    await world.files.write(fh, 10, b"content")
    shown = await world.namespace.lookup(ROOT, b"file")
    assert shown is not None
    assert (shown.size, shown.stat_blocks) == (17, 1)


async def test_an_absent_name(world: World, autojump_clock: MockClock) -> None:
    """Is no error here: the kernel may remember that it is free."""
    assert await world.namespace.lookup(ROOT, b"none") is None
    assert world.references.holding() == ()


async def test_dots_are_answered_from_the_inode(world: World, autojump_clock: MockClock) -> None:
    """The daemon stores no such names."""
    for name in (b".", b".."):
        found = await world.namespace.lookup(ROOT, name)
        assert found is not None
        assert found.number == ROOT
    assert world.client.asked_for(Lookup) == 0


async def test_a_name_too_long(world: World, autojump_clock: MockClock) -> None:
    """Is refused here, by every call that takes one."""
    long = b"n" * 256
    for action in (
        world.namespace.lookup(ROOT, long),
        world.make(long),
        world.namespace.unlink(ROOT, long),
        world.namespace.remove_directory(ROOT, long),
        world.namespace.link(ROOT, ROOT, long),
        world.namespace.rename(Rename(ROOT, b"a", ROOT, long)),
    ):
        with pytest.raises(NamespaceRefusal) as raised:
            await action
        assert raised.value.number == errno.ENAMETOOLONG


async def test_a_rename_over_another_sends_the_bytes_first(world: World, autojump_clock: MockClock) -> None:
    """A crash leaves the old or the new content, never an empty file."""
    old, _ = await world.open(b"old")
    new, fh = await world.open(b"new")
    await world.files.write(fh, 0, b"content")
    await world.namespace.rename(Rename(ROOT, b"new", ROOT, b"old"))
    assert world.stored(new.number) == b"content"
    found = await world.namespace.lookup(ROOT, b"old")
    assert found is not None
    assert found.number == new.number
    assert world.references.is_orphan(old.number)


async def test_a_rename_to_a_free_name_sends_nothing(world: World, autojump_clock: MockClock) -> None:
    """With NOREPLACE there is nothing that a crash could lose."""
    _, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    await world.namespace.rename(Rename(ROOT, b"file", ROOT, b"other", replace=False))
    assert world.client.stores == []


async def test_extended_attributes_of_a_file_without_any_ask_nothing(world: World, autojump_clock: MockClock) -> None:
    """Ls and cp look for them at every file."""
    made = await world.make()
    assert await world.namespace.xattrs(made.number, privileged=True) == []
    with pytest.raises(NamespaceRefusal) as raised:
        await world.namespace.xattr(made.number, b"user.a")
    assert raised.value.number == errno.ENODATA
    with pytest.raises(NamespaceRefusal) as raised:
        await world.namespace.set_xattr(made.number, b"other.a", b"")
    assert raised.value.number == errno.EOPNOTSUPP
    assert world.client.asked_for(GetXattr) == world.client.asked_for(ListXattrs) == 0


async def test_a_change_that_fails_leaves_what_was_known(world: World, autojump_clock: MockClock) -> None:
    """The daemon is away: the attributes are still those that it told."""
    made = await world.make()
    world.client.unreachable = Unreachable("away")
    with pytest.raises(Unreachable):
        await world.namespace.set_attributes(SetAttributes(made.number, mode=0o600))
    assert (await world.namespace.attributes(made.number)).mode == made.mode
