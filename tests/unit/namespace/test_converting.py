"""Conversions: all that a policy reaches and nothing else, in bounded steps, over a tree that goes on changing."""

from collections.abc import Sequence

import pytest

from dwd.model.ids import ROOT, InodeNumber, SegmentId
from dwd.model.inode import Inode
from dwd.model.limits import SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.namespace.commands import FileData, RemoveDirectory, Rename, SetPolicy, SetProtection, StoreData, Unlink
from dwd.namespace.converting import (
    Estimate,
    Position,
    begin,
    estimate,
    plan_conversion,
    plan_misfits,
    plan_policy_walk,
    plan_upgrade,
)
from tests.unit.namespace.test_repacking import perform
from tests.unit.namespace.volume import DIRECTORY, LINK, MIRROR, NONE, RS, Volume


def tree(volume: Volume, width: int = 3, depth: int = 3, parent: InodeNumber = ROOT) -> list[InodeNumber]:
    """Directories in directories, each with files: one empty, one with bytes. All that was made."""
    made: list[InodeNumber] = []
    for i in range(width if depth else 0):
        directory = volume.make(b"d%d" % i, DIRECTORY, parent).number
        full = volume.make(b"full", parent=directory).number
        volume.write(full, 0, b"bytes", inline=i == 1)
        made += [directory, full, volume.make(b"empty", parent=directory).number]
        volume.make(b"link", LINK, directory)
        made += tree(volume, width, depth - 1, directory)
    return made


def walk(volume: Volume, root: InodeNumber, limit: int) -> tuple[int, set[InodeNumber]]:
    """One pass, performed: how many were changed, and the files that it came by."""
    pending, changed, files, steps = begin(root), 0, set[InodeNumber](), 0
    while pending:
        step = plan_policy_walk(volume.state, root, pending, limit)
        assert len(step.changes) <= limit
        assert len(step.files) <= limit
        for change in step.changes:
            volume.do(change)
        changed += len(step.changes)
        files |= set(step.files)
        pending = step.pending
        steps += 1
        assert steps < 1000
    return changed, files


def convert(volume: Volume, files: Sequence[InodeNumber], default: Protection = NONE) -> list[int]:
    """Perform all plans for these files; the length of each new segment."""
    at: Position | None = (0, 0)
    lengths: list[int] = []
    while at is not None:
        step = plan_conversion(volume.state, files, at, default)
        if step.plan.moves:
            assert step.plan.bytes <= SEGMENT_BYTES_MAX
            assert perform(volume, step.plan) == len(step.plan.moves)
            lengths.append(step.plan.bytes)
        at = step.following
    return lengths


def segment_of(volume: Volume, number: InodeNumber) -> Segment:
    """Where the first bytes of a file lie."""
    extent = volume.state.find_extent(number, 0)
    found = None if extent is None else volume.state.find_segment(extent.segment)
    assert found is not None
    return found


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 1000])
def test_whole_tree(volume: Volume, limit: int) -> None:
    """However small the steps, everything below is changed once, and every file with bytes is told."""
    below = tree(volume)
    volume.do(SetPolicy(ROOT, RS))
    changed, files = walk(volume, ROOT, limit)
    assert changed == len(below)
    assert {volume.inode(number).protection for number in below} == {RS}
    assert files == {number for number in below if volume.inode(number).allocated}
    assert walk(volume, ROOT, limit)[0] == 0


def test_large_directory(volume: Volume) -> None:
    """A directory of more entries than a step sees is gone through by its cookies."""
    top = volume.make(b"top", DIRECTORY).number
    inside = [volume.make(b"%d" % i, parent=top).number for i in range(700)]
    volume.do(SetPolicy(top, RS))
    assert walk(volume, top, 100)[0] == 700
    assert {volume.inode(number).protection for number in inside} == {RS}


def test_policies_below_are_left_alone(volume: Volume) -> None:
    """A directory or file with a policy of its own keeps it, with everything below; what lies beside the root too."""
    top, beside = volume.make(b"top", DIRECTORY).number, volume.make(b"beside", DIRECTORY).number
    below, outside = tree(volume, 2, 2, top), tree(volume, 1, 1, beside)
    own_directory, own_file = below[0], below[-1]
    volume.do(SetPolicy(own_directory, MIRROR))
    volume.do(SetPolicy(own_file, MIRROR))
    walk(volume, own_directory, 100)
    kept = {number: volume.inode(number) for number in below if volume.inode(number).protection == MIRROR}
    volume.do(SetPolicy(top, RS))
    walk(volume, top, 100)
    assert len(kept) > 5
    assert {number: volume.inode(number) for number in kept} == kept
    assert {volume.inode(n).protection for n in below if n not in kept} == {RS}
    assert {volume.inode(n).protection for n in outside} == {None}


def test_root_that_is_a_file(volume: Volume) -> None:
    """The policy changed it already; its bytes are to be converted. One that is gone is no work."""
    full, empty = volume.make(b"full").number, volume.make(b"empty").number
    volume.write(full, 0, b"bytes")
    volume.do(SetPolicy(full, RS))
    assert walk(volume, full, 10) == (0, {full})
    assert walk(volume, empty, 10) == (0, set())
    assert walk(volume, InodeNumber(99), 10) == (0, set())


def test_what_moved_out_is_not_changed(volume: Volume) -> None:
    """A directory that left before its turn, or was removed, is passed over; the second pass finds what came."""
    top, away = volume.make(b"top", DIRECTORY).number, volume.make(b"away", DIRECTORY).number
    moved, removed = volume.make(b"moved", DIRECTORY, top).number, volume.make(b"removed", DIRECTORY, top).number
    file = volume.make(b"file", parent=moved).number
    late = volume.make(b"late", DIRECTORY).number
    below = volume.make(b"below", parent=late).number
    volume.do(SetPolicy(top, RS))
    step = plan_policy_walk(volume.state, top, begin(top), 2)
    for change in step.changes:
        volume.do(change)
    volume.do(Rename(top, b"moved", away, b"moved"))
    volume.do(RemoveDirectory(top, b"removed"))
    volume.do(Rename(ROOT, b"late", top, b"late"))
    assert {number for number, _ in step.pending} == {moved, removed}
    rest = plan_policy_walk(volume.state, top, step.pending, 100)
    assert (rest.changes, rest.pending) == ((), ())
    assert volume.inode(file).protection is None
    assert walk(volume, top, 100)[0] == 2
    assert volume.inode(below).protection == RS


def test_policy_that_was_set_during_a_pass(volume: Volume) -> None:
    """What is to be listed yet, but lies below a directory that has a policy by now, is passed over."""
    top = volume.make(b"top", DIRECTORY).number
    middle = volume.make(b"middle", DIRECTORY, top).number
    lower = volume.make(b"lower", DIRECTORY, middle).number
    file = volume.make(b"file", parent=lower).number
    volume.do(SetPolicy(top, RS))
    pending = plan_policy_walk(volume.state, top, begin(top), 1).pending
    pending = plan_policy_walk(volume.state, top, pending, 1).pending
    assert pending == ((lower, 0),)
    volume.do(SetPolicy(middle, MIRROR))
    assert plan_policy_walk(volume.state, top, pending, 10).changes == ()
    assert volume.inode(file).protection is None


def test_what_changed_since_the_plan_is_left(volume: Volume) -> None:
    """A file that moved away between plan and command keeps what it took over there."""
    top = volume.make(b"top", DIRECTORY).number
    file = volume.make(b"file", parent=top).number
    volume.do(SetPolicy(top, RS))
    (change,) = plan_policy_walk(volume.state, top, begin(top), 10).changes
    volume.do(Rename(top, b"file", ROOT, b"file"))
    volume.do(change)
    assert volume.inode(file).protection is None


def test_small_files_share_segments(volume: Volume) -> None:
    """Bytes of many files go into one segment; inline bytes are left to their mover; nobody can tell."""
    files = [volume.make(b"%d" % i).number for i in range(20)]
    for number in files:
        volume.write(number, 0, b"bytes of %d" % number)
        volume.write(number, 100, b"inline", inline=True)
        volume.do(SetProtection(number, RS))
    before = [volume.read(number) for number in files]
    assert len(convert(volume, files)) == 1
    assert len({segment_of(volume, number).id for number in files}) == 1
    assert segment_of(volume, files[0]).protection == RS
    assert [volume.read(number) for number in files] == before
    assert convert(volume, files) == []


def test_large_file_is_converted_in_segments(volume: Volume) -> None:
    """One that is many segments long takes many plans, each at most a segment; what fits already stays."""
    file = volume.make(b"file").number
    size = SEGMENT_BYTES_MAX // 2 + 1
    for i in range(4):
        volume.write(file, i * size, bytes([i]) * size)
    done = volume.segment(b"x" * size, RS)
    volume.store_whole(file, done, 4 * size)
    volume.do(SetProtection(file, RS))
    before = volume.read(file)
    assert convert(volume, [file]) == [size] * 4
    assert volume.read(file) == before
    assert volume.state.find_segment(done.id) is not None
    assert {segment.protection for segment in volume.state.segments(b"S")} == {RS}


def test_many_extents(volume: Volume) -> None:
    """A plan has no more ranges than a command, and looks at no more extents, however many there are."""
    file, other = volume.make(b"file").number, volume.make(b"other").number
    pieces = 2 * SEGMENT_RANGES_MAX + 10
    for first in range(0, pieces, 4000):
        count = min(4000, pieces - first)
        ranges = tuple((2 * (first + i), 1, i) for i in range(count))
        volume.do(StoreData(volume.segment(bytes(count)), (FileData(file, ranges),)))
    volume.write(other, 0, b"bytes")
    step = plan_conversion(volume.state, [file, other], (0, 0), NONE)
    assert step.plan.moves == ()
    assert step.following == (0, 2 * SEGMENT_RANGES_MAX - 1)
    for number in (file, other):
        volume.do(SetProtection(number, RS))
    assert convert(volume, [file, other]) == [SEGMENT_RANGES_MAX, SEGMENT_RANGES_MAX, 15]


def test_files_of_several_protections(volume: Volume) -> None:
    """Should two have come together they do not share a segment; the volume's default counts for who says nothing."""
    files = [volume.make(b"%d" % i).number for i in range(3)]
    for number, wanted in zip(files, (None, None, RS), strict=True):
        volume.write(number, 0, b"bytes")
        volume.do(SetProtection(number, wanted))
    assert convert(volume, files, MIRROR) == [10, 5]
    assert [segment_of(volume, number).protection for number in files] == [MIRROR, MIRROR, RS]
    assert convert(volume, [], MIRROR) == []


def test_upgrade_of_a_fallback(volume: Volume) -> None:
    """All that lives of a segment is to be written as it was meant; a conversion takes it for what it is to be."""
    one, two = volume.make(b"one").number, volume.make(b"two").number
    segment = volume.segment(b"0123456789", MIRROR, wanted=RS)
    volume.do(StoreData(segment, (FileData(one, ((0, 5, 0),)), FileData(two, ((0, 5, 5),)))))
    for number in (one, two):
        volume.do(SetProtection(number, RS))
    volume.write(one, 0, b"new")
    assert convert(volume, [two]) == []
    found = volume.state.find_segment(segment.id)
    assert found is not None
    assert found.meant == RS
    plan = plan_upgrade(volume.state, found)
    assert (plan.protection, plan.bytes) == (RS, 7)
    perform(volume, plan)
    assert volume.state.find_segment(segment.id) is None
    assert (volume.read(one), volume.read(two)) == (b"new34", b"56789")


def test_misfits(volume: Volume) -> None:
    """Files that were renamed into another policy are found by their segment, one protection at a time."""
    files = [volume.make(b"%d" % i).number for i in range(4)]
    segment = volume.segment(bytes(40))
    volume.do(StoreData(segment, tuple(FileData(n, ((0, 10, 10 * i),)) for i, n in enumerate(files))))
    for number, wanted in zip(files, (None, RS, MIRROR, RS), strict=True):
        volume.do(SetProtection(number, wanted))
    planned = []
    for _ in range(3):
        found = volume.state.find_segment(segment.id)
        assert found is not None
        plan = plan_misfits(volume.state, found, NONE)
        planned.append((plan.protection, [move.number for move in plan.moves]))
        if plan.moves:
            perform(volume, plan)
    assert planned == [(RS, [files[1], files[3]]), (MIRROR, [files[2]]), (NONE, [])]


def test_ranges_that_covered_each_other(volume: Volume) -> None:
    """An extent is planned once, whole, even where the ranges of one command lay over each other."""
    file = volume.make(b"file").number
    segment = volume.segment(b"0123456789")
    volume.do(StoreData(segment, (FileData(file, ((0, 5, 0), (3, 5, 5))),)))
    plan = plan_upgrade(volume.state, segment)
    assert [(move.offset, move.extent.length, move.extent.at) for move in plan.moves] == [(0, 3, 0), (3, 5, 5)]
    assert perform(volume, plan) == 2


def last(volume: Volume, root: InodeNumber, wanted: Protection) -> Estimate:
    """What an estimate ends with."""
    return list(estimate(volume.state, root, wanted))[-1]


def test_estimate(volume: Volume) -> None:
    """Files, bytes, and what is stored for them before and after; a policy of its own takes a subtree out of it."""
    top = volume.make(b"top", DIRECTORY).number
    sub, own = volume.make(b"sub", DIRECTORY, top).number, volume.make(b"own", DIRECTORY, top).number
    volume.do(SetPolicy(own, MIRROR))
    one, two, three = (volume.make(b"f", parent=parent).number for parent in (top, sub, own))
    volume.write(one, 0, bytes(400))
    volume.store_whole(two, volume.segment(bytes(800), RS))
    volume.write(two, 800, bytes(4), inline=True)
    volume.write(three, 0, bytes(100))
    volume.make(b"outside")
    assert last(volume, top, RS) == Estimate(2, 1, 1204, 400, 400 + 1200 + 4, 1806)
    assert last(volume, top, MIRROR) == Estimate(2, 1, 1204, 1200, 1604, 2408)
    assert last(volume, three, MIRROR) == Estimate(1, 0, 100, 100, 100, 200)
    assert list(estimate(volume.state, InodeNumber(99), RS)) == []


def test_estimate_tells_of_itself(volume: Volume) -> None:
    """Whoever waits hears of it, also within a file of many extents; the totals only rise."""
    file = volume.make(b"file").number
    ranges = tuple((2 * i, 1, i) for i in range(3000))
    volume.do(StoreData(volume.segment(bytes(3000)), (FileData(file, ranges),)))
    totals = [total.bytes for total in estimate(volume.state, ROOT, RS)]
    assert totals == [1024, 2048, 3000]


def test_estimate_of_what_is_left(volume: Volume) -> None:
    """Once all is converted nothing is left to be rewritten, and what it said is what became of it."""
    below = tree(volume, 2, 2)
    volume.do(Unlink(below[0], b"empty"))
    foreseen = last(volume, ROOT, MIRROR)
    volume.do(SetPolicy(ROOT, MIRROR))
    _, files = walk(volume, ROOT, 100)
    convert(volume, sorted(files))
    after = last(volume, ROOT, MIRROR)
    assert after.to_rewrite == 0
    assert (after.files, after.bytes, after.stored_after) == (foreseen.files, foreseen.bytes, foreseen.stored_after)
    stored = sum(s.length * s.protection.width // s.protection.k for s in volume.state.segments(b"S"))
    assert stored + volume.state.volume.inline_bytes == after.stored_before


def test_nothing_of_it_is_kept_between(volume: Volume) -> None:
    """A root that is gone ends a pass that is under way."""
    top = volume.make(b"top", DIRECTORY).number
    inode: Inode = volume.make(b"sub", DIRECTORY, top)
    volume.do(SetPolicy(top, RS))
    pending = plan_policy_walk(volume.state, top, begin(top), 1).pending
    assert pending == ((inode.number, 0),)
    volume.do(RemoveDirectory(top, b"sub"))
    volume.do(RemoveDirectory(ROOT, b"top"))
    assert plan_policy_walk(volume.state, top, pending, 10).pending == ()
    assert SegmentId(0) not in volume.written
