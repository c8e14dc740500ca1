"""Protections of files: set somewhere, copied to what is made below, kept or taken over by what moves."""

import errno

import pytest

from dwd.model.ids import ROOT, InodeNumber, LogIndex
from dwd.model.limits import CONVERSIONS_MAX
from dwd.model.protection import Protection
from dwd.namespace import keys, policies
from dwd.namespace.commands import (
    DropConversion,
    Link,
    PutConversion,
    Reap,
    RemoveDirectory,
    Rename,
    SetAttributes,
    SetPolicy,
    SetProtection,
    Unlink,
)
from dwd.namespace.records import ConversionState
from dwd.namespace.state import State
from tests.unit.namespace.volume import DIRECTORY, LINK, MIRROR, NONE, RS, Volume

RUNNING, PAUSED = ConversionState.RUNNING, ConversionState.PAUSED


def protection(volume: Volume, number: InodeNumber) -> Protection | None:
    """What an inode says now."""
    return volume.inode(number).protection


def protected(volume: Volume, name: bytes, wanted: Protection | None) -> InodeNumber:
    """A directory with a policy of its own."""
    number = volume.make(name, DIRECTORY).number
    volume.do(SetPolicy(number, wanted))
    return number


def test_what_is_made_has_its_directorys(volume: Volume) -> None:
    """Files and directories get a copy, over any depth; what has no bytes gets none."""
    top = protected(volume, b"top", RS)
    below = volume.make(b"below", DIRECTORY, top).number
    assert protection(volume, volume.make(b"file", parent=below).number) == RS
    assert volume.make(b"link", LINK, below).protection is None
    assert volume.make(b"pipe", 0o010644, below).protection is None
    assert volume.make(b"file").protection is None


def test_policy_does_not_reach_what_is_there(volume: Volume) -> None:
    """A policy changes its own inode and what is made later; the rest is for a conversion."""
    top = volume.make(b"top", DIRECTORY).number
    old = volume.make(b"old", parent=top).number
    done = volume.do(SetPolicy(top, MIRROR))
    assert done.inodes == (volume.inode(top),)
    assert protection(volume, old) is None
    assert protection(volume, volume.make(b"new", parent=top).number) == MIRROR


def test_policy_remembers_the_one_before(volume: Volume) -> None:
    """Revert goes back to the policy that was set there, not to what was handed down; setting it again is no news."""
    number = volume.make(b"sub", DIRECTORY, protected(volume, b"top", RS)).number
    for wanted, previous in ((MIRROR, None), (NONE, MIRROR), (NONE, MIRROR)):
        volume.do(SetPolicy(number, wanted))
        record = volume.state.policy(number)
        assert record is not None
        assert (record.protection, record.previous) == (wanted, previous)
    assert [(n, r.protection) for n, r in volume.state.policies()] == [
        (volume.inode(number).parent, RS),
        (number, NONE),
    ]


def test_policy_taken_away(volume: Volume) -> None:
    """A directory has its parent's again, the root the volume's; a file keeps its own until it is handed one."""
    top = protected(volume, b"top", RS)
    sub, file = volume.make(b"sub", DIRECTORY, top).number, volume.make(b"file", parent=top).number
    for number, after in ((sub, RS), (file, MIRROR), (ROOT, None)):
        volume.do(SetPolicy(number, MIRROR))
        volume.do(SetPolicy(number, None))
        assert volume.state.policy(number) is None
        assert protection(volume, number) == after
    volume.do(SetProtection(file, RS))
    assert protection(volume, file) == RS


def test_handed_down(volume: Volume) -> None:
    """SetProtection changes no time; it is void where a policy is, or when the inode changed since it was planned."""
    file = volume.make(b"file")
    volume.do(SetProtection(file.number, RS, file.changed))
    now = volume.inode(file.number)
    assert (now.protection, now.ctime, now.changed) == (RS, file.ctime, LogIndex(len(volume.log)))
    volume.do(SetProtection(file.number, MIRROR, file.changed))
    assert protection(volume, file.number) == RS
    before = volume.rows()
    volume.do(SetProtection(file.number, RS))
    assert volume.rows() == before
    volume.do(SetPolicy(file.number, RS))
    volume.do(SetProtection(file.number, MIRROR))
    assert protection(volume, file.number) == RS


@pytest.mark.parametrize("make", [SetProtection, SetPolicy])
def test_what_cannot_have_one(volume: Volume, make: type[SetProtection] | type[SetPolicy]) -> None:
    """Only files and directories with a name, and only shards that can be."""
    file, link = volume.make(b"file").number, volume.make(b"link", LINK).number
    assert volume.refused(make(InodeNumber(99), RS)) == errno.ENOENT
    assert volume.refused(make(link, RS)) == errno.EINVAL
    for bad in (Protection(0, 1), Protection(1, -1), Protection(20, 20)):
        assert volume.refused(make(file, bad)) == errno.EINVAL
    volume.do(Unlink(ROOT, b"file"))
    assert volume.refused(make(file, RS)) == errno.ENOENT


def test_another_name_changes_nothing(volume: Volume) -> None:
    """A file with two names keeps what it had, wherever the second is."""
    file, top = volume.make(b"file").number, protected(volume, b"top", RS)
    volume.do(Link(file, top, b"again"))
    assert protection(volume, file) is None


def test_file_that_moves(volume: Volume) -> None:
    """It takes over the new directory's, unless it has a policy itself or stays where it is."""
    top = protected(volume, b"top", RS)
    plain, own, stays = (volume.make(name) for name in (b"plain", b"own", b"stays"))
    volume.do(SetPolicy(own.number, MIRROR))
    volume.do(SetProtection(stays.number, MIRROR))
    volume.do(Rename(ROOT, b"plain", top, b"plain"))
    volume.do(Rename(ROOT, b"own", top, b"own"))
    volume.do(Rename(ROOT, b"stays", ROOT, b"stayed"))
    assert [protection(volume, inode.number) for inode in (plain, own, stays)] == [RS, MIRROR, MIRROR]
    volume.do(Rename(top, b"plain", ROOT, b"plain"))
    assert protection(volume, plain.number) is None


def test_directory_that_moves(volume: Volume) -> None:
    """It takes along what it and everything below have: a rename does not walk a tree. A link has none to change."""
    top, moved = protected(volume, b"top", RS), volume.make(b"moved", DIRECTORY).number
    link = volume.make(b"link", LINK).number
    volume.do(Rename(ROOT, b"moved", top, b"moved"))
    volume.do(Rename(ROOT, b"link", top, b"link"))
    assert protection(volume, moved) is None
    assert protection(volume, link) is None


def test_exchange(volume: Volume) -> None:
    """Both files take over the other directory's; in one directory nothing changes."""
    one, two = protected(volume, b"one", RS), protected(volume, b"two", MIRROR)
    left, right = volume.make(b"f", parent=one).number, volume.make(b"f", parent=two).number
    volume.do(Rename(one, b"f", two, b"f", exchange=True))
    assert (protection(volume, left), protection(volume, right)) == (MIRROR, RS)
    other = volume.make(b"g", parent=two).number
    volume.do(SetProtection(other, NONE))
    volume.do(Rename(two, b"f", two, b"g", exchange=True))
    assert (protection(volume, left), protection(volume, other)) == (MIRROR, NONE)


def test_policy_ends_with_the_name(volume: Volume) -> None:
    """Unlink, rmdir and being replaced take policy and conversion along; what is still open stays as it was."""
    files = [volume.make(name).number for name in (b"gone", b"replaced", b"two", b"new")]
    gone, replaced, two, _ = files
    directory = volume.make(b"directory", DIRECTORY).number
    volume.do(Link(two, ROOT, b"names"))
    for number in (gone, replaced, two, directory):
        volume.do(SetPolicy(number, RS))
        volume.do(PutConversion(number, RS, None, RUNNING))
    volume.do(Unlink(ROOT, b"gone"))
    volume.do(Unlink(ROOT, b"two"))
    volume.do(Rename(ROOT, b"new", ROOT, b"replaced"))
    volume.do(RemoveDirectory(ROOT, b"directory"))
    assert [number for number, _ in volume.state.policies()] == [two]
    assert [record.number for record in volume.state.conversions()] == [two]
    assert protection(volume, gone) == RS
    volume.do(Reap((gone, replaced, directory)))
    assert not [
        key for key in volume.rows() if keys.number_of(key) in {gone, replaced, directory} and key[:1] in b"PJI"
    ]


def test_other_changes_keep_it(volume: Volume) -> None:
    """Writing, truncating and chmod leave a file's protection alone."""
    file = volume.make(b"file").number
    volume.do(SetProtection(file, RS))
    volume.write(file, 0, b"bytes")
    volume.do(SetAttributes(file, mode=0o600, size=2))
    assert protection(volume, file) == RS


def test_conversions(volume: Volume) -> None:
    """Put again it keeps its start; one that is not there is dropped without complaint; they survive a restart."""
    one, two = volume.make(b"one", DIRECTORY).number, volume.make(b"two").number
    volume.do(PutConversion(one, RS, MIRROR, RUNNING))
    started = volume.now
    volume.do(PutConversion(two, None, RS, RUNNING))
    volume.do(PutConversion(one, RS, MIRROR, PAUSED))
    again = State(volume.store)
    for state in (volume.state, again):
        found = state.conversion(one)
        assert found is not None
        assert (found.protection, found.previous, found.state, found.started) == (RS, MIRROR, PAUSED, started)
        assert [record.number for record in state.conversions()] == [one, two]
        assert state.conversion(ROOT) is None
    volume.do(DropConversion(one))
    before = volume.rows()
    volume.do(DropConversion(one))
    assert volume.rows() == before
    assert [record.number for record in volume.state.conversions()] == [two]
    assert volume.refused(PutConversion(InodeNumber(99), RS, None, RUNNING)) == errno.ENOENT
    assert volume.refused(PutConversion(one, Protection(0, 0), None, RUNNING)) == errno.EINVAL


def test_conversions_are_bounded(volume: Volume) -> None:
    """One too many is refused; those that are known can still be changed."""
    numbers = [volume.make(b"%d" % i).number for i in range(CONVERSIONS_MAX + 1)]
    for number in numbers[:-1]:
        volume.do(PutConversion(number, RS, None, RUNNING))
    assert volume.refused(PutConversion(numbers[-1], RS, None, RUNNING)) == errno.EOVERFLOW
    volume.do(PutConversion(numbers[0], RS, None, PAUSED))


def test_effective(volume: Volume) -> None:
    """A file's own, else the volume's; also for what is gone."""
    file = volume.make(b"file").number
    assert policies.effective(volume.state, file, MIRROR) == MIRROR
    volume.do(SetProtection(file, RS))
    assert policies.effective(volume.state, file, MIRROR) == RS
    assert policies.effective(volume.state, InodeNumber(99), MIRROR) == MIRROR


def test_strongest() -> None:
    """Most losses survived first, then fewest pieces; of nothing it is the default."""
    assert policies.strongest([NONE, RS, MIRROR, Protection(1, 2)], NONE) == Protection(1, 2)
    assert policies.strongest([Protection(10, 2), RS], NONE) == RS
    assert policies.strongest([], MIRROR) == MIRROR
