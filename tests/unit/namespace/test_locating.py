"""From paths to segments, and from segments back to files and their paths."""

import errno
from collections import Counter

import pytest

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber, SegmentId
from dwd.namespace import keys
from dwd.namespace.commands import FileData, Link, Rename, StoreData, Unlink
from dwd.namespace.locating import Exposure, exposures, holders, paths, portions, resolve
from tests.unit.namespace.volume import DIRECTORY, LINK, MIRROR, RS, Volume


def populated(volume: Volume) -> tuple[InodeNumber, InodeNumber]:
    r"""/a/b/\xff with links on the way; the directory b and the file."""
    a = volume.make(b"a", DIRECTORY).number
    b = volume.make(b"b", DIRECTORY, a).number
    volume.make(b"here", LINK, a, b"b")
    volume.make(b"round", LINK, b, b"../here/./x")
    volume.make(b"x", DIRECTORY, b)
    volume.make(b"out", LINK, a, b"/etc")
    volume.make(b"loop", LINK, a, b"loop")
    return b, volume.make(b"\xff", parent=b).number


@pytest.mark.parametrize(
    "path", [b"/a/b/\xff", b"a/b/\xff", b"//a/./b//\xff/", b"/a/here/\xff", b"/a/b/x/../\xff", b"/../a/b/round/../\xff"]
)
def test_paths_to_one_file(volume: Volume, path: bytes) -> None:
    """Names are bytes; dots, doubled slashes and relative links on the way mean what they do elsewhere."""
    _, file = populated(volume)
    assert resolve(volume.state, path).number == file


def test_ends_of_paths(volume: Volume) -> None:
    """The root is a path too, and a link at the end is itself."""
    populated(volume)
    assert resolve(volume.state, b"/").number == resolve(volume.state, b"").number == ROOT
    assert resolve(volume.state, b"/a/out").is_symlink
    assert resolve(volume.state, b"/a/loop").is_symlink


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        (b"/none", errno.ENOENT),
        (b"/a/none/x", errno.ENOENT),
        (b"/a/b/\xff/x", errno.ENOTDIR),
        (b"/a/b/\xff/..", errno.ENOTDIR),
        (b"/a/out/passwd", errno.EXDEV),
        (b"/a/loop/x", errno.ELOOP),
    ],
)
def test_paths_to_nothing(volume: Volume, path: bytes, refusal: int) -> None:
    """Each is refused with the errno that it would have elsewhere; what leads out of the volume is nobody's."""
    populated(volume)
    with pytest.raises(NamespaceRefusal) as caught:
        resolve(volume.state, path)
    assert caught.value.number == refusal


def test_portions(volume: Volume) -> None:
    """A file's bytes by segment, in pages; together they are its allocation."""
    file = volume.make(b"file").number
    volume.write(file, 0, b"a" * 100)
    volume.store_whole(file, volume.segment(b"b" * 50, RS), 100)
    volume.write(file, 10, b"inline", inline=True)
    found, following = portions(volume.state, file, 0, 100)
    first, second = volume.written
    told = {0 if p.segment is None else p.segment.id: (p.bytes, p.extents) for p in found}
    assert told == {first: (94, 2), 0: (6, 1), second: (50, 1)}
    assert following is None
    total, pages = Counter[int](), 0
    at: int | None = 0
    while at is not None:
        found, at = portions(volume.state, file, at, 1)
        total.update({0 if p.segment is None else p.segment.id: p.bytes for p in found})
        pages += 1
    assert total == {first: 94, 0: 6, second: 50}
    assert pages == 5
    assert portions(volume.state, volume.make(b"empty").number, 0, 10) == ([], None)


def test_holders(volume: Volume) -> None:
    """Who has living bytes in a segment, and how many; ranges that covered each other are counted once."""
    one, two, gone = (volume.make(name).number for name in (b"one", b"two", b"gone"))
    segment = volume.segment(b"0123456789" * 3)
    data = ((one, ((0, 5, 0), (3, 5, 5))), (two, ((0, 10, 10),)), (gone, ((0, 10, 20),)))
    volume.do(StoreData(segment, tuple(FileData(number, ranges) for number, ranges in data)))
    volume.write(two, 2, b"xx", inline=True)
    volume.write(gone, 0, bytes(10), inline=True)
    found = list(holders(volume.state, [segment.id, SegmentId(5)]))
    assert found == [(segment.id, one, 8), (segment.id, two, 8)]
    kept = volume.state.find_segment(segment.id)
    assert kept is not None
    assert kept.live == 16


def test_exposures(volume: Volume) -> None:
    """Every byte in a segment is counted once, by what is said of its segment; each segment is judged once."""
    files = [volume.make(b"%d" % i).number for i in range(3)]
    shared, own = volume.segment(bytes(60), RS), volume.segment(bytes(100), MIRROR)
    volume.do(StoreData(shared, tuple(FileData(n, ((0, 20, 20 * i),)) for i, n in enumerate(files))))
    volume.store_whole(files[1], own, 50)
    volume.write(files[2], 0, bytes(20), inline=True)
    judged: list[SegmentId] = []

    def margin(segment: object) -> int:
        judged.append(segment.id)  # type: ignore[attr-defined]
        return segment.protection.m  # type: ignore[attr-defined, no-any-return]

    found = list(exposures(volume.state, margin))
    assert found == [Exposure(files[0], {2: 20}), Exposure(files[1], {2: 20, 1: 100})]
    assert judged == [shared.id, own.id]
    assert sum(sum(e.bytes.values()) for e in found) == volume.state.volume.stored_bytes


def test_exposure_of_a_segment_without_a_record(volume: Volume) -> None:
    """It is for fsck to tell; the others are counted all the same."""
    file = volume.make(b"file").number
    volume.write(file, 0, b"abc")
    first = next(iter(volume.written))
    raw = volume.store.get(keys.segment(first))
    assert raw is not None
    volume.write(file, 10, b"defg")
    volume.store.delete(keys.segment(first))
    assert list(exposures(volume.state, lambda _: 7)) == [Exposure(file, {7: 4})]
    volume.store.put(keys.segment(first), raw)


def test_paths_of_inodes(volume: Volume) -> None:
    """Files, links and directories are told by a path that resolves to them; what has no name is missing."""
    b, file = populated(volume)
    orphan, deep = volume.make(b"orphan").number, volume.make(b"deep", parent=b).number
    volume.do(Unlink(ROOT, b"orphan"))
    volume.do(Rename(b, b"deep", ROOT, b"deep"))
    found = paths(volume.state, [ROOT, b, file, orphan, deep, InodeNumber(99)])
    assert found == {ROOT: b"/", b: b"/a/b", file: b"/a/b/\xff", deep: b"/deep"}
    for number, path in found.items():
        assert resolve(volume.state, path).number == number
    assert paths(volume.state, []) == {}


def test_path_of_a_file_with_two_names(volume: Volume) -> None:
    """Either will do."""
    b, file = populated(volume)
    volume.do(Link(file, ROOT, b"second"))
    assert paths(volume.state, [file])[file] in {b"/a/b/\xff", b"/second"}
    volume.do(Unlink(b, b"\xff"))
    assert paths(volume.state, [file]) == {file: b"/second"}
