"""Views: listing by cookies while names come and go, and ranges of files."""

import errno
import stat
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber
from dwd.model.limits import DIRECTORY_PAGE_BYTES_MAX
from dwd.namespace import keys
from dwd.namespace.commands import Rename, Unlink
from dwd.namespace.queries import extents_within, list_directory, list_rows, list_xattrs, lookup, orphans
from dwd.namespace.store_memory import MemoryStore
from dwd.wire.messages import Entries, EntryRows, encode_message
from tests.unit.namespace.volume import DIRECTORY, LINK, Volume


def list_all(volume: Volume, limit: int) -> list[bytes]:
    """List the root page by page."""
    names, cookie, complete = [], 0, False
    while not complete:
        page, complete = list_directory(volume.state, ROOT, cookie, limit)
        assert len(page) <= limit
        assert complete or page
        names += [listed.name for listed in page]
        assert len(names) <= 20_000, "the listing does not end"
        cookie = page[-1].cookie if page else cookie
    return names


@settings(max_examples=60)
@given(
    st.sets(
        st.binary(min_size=1, max_size=3).filter(lambda n: not {0, 47} & set(n) and n not in {b".", b".."}), max_size=30
    ),
    st.lists(st.tuples(st.integers(1, 5), st.lists(st.integers(0, 40), max_size=3)), min_size=1, max_size=40),
)
def test_names_that_stay_are_listed_once(names: set[bytes], turns: list[tuple[int, list[int]]]) -> None:
    """Every name that stays is listed exactly once, whatever comes and goes between pages of any size."""
    volume = Volume()
    staying = {b"stay" + n for n in names}
    for name in staying:
        volume.make(name)
    seen: list[bytes] = []
    cookie, turn, complete = 0, 0, False
    while not complete:
        limit, changes = turns[turn % len(turns)]
        page, complete = list_directory(volume.state, ROOT, cookie, limit)
        seen += [listed.name for listed in page]
        cookie = page[-1].cookie if page else cookie
        for change in changes if turn < 60 else []:
            name = b"go%d" % change
            if volume.find(name) is None:
                volume.make(name)
            else:
                volume.do(Unlink(ROOT, name))
        turn += 1
        assert turn < 1000, "the listing does not end"
    assert sorted(n for n in seen if n.startswith(b"stay")) == sorted(staying)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_names_with_one_hash(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that share a hash have cookies of their own."""
    volume = Volume()
    monkeypatch.setattr(keys, "name_hash", lambda name, seed: len(name) % 2)
    names = sorted([b"%d" % i for i in range(20)] + [b"x%02d" % i for i in range(20)])
    for name in names:
        volume.make(name)
    assert sorted(list_all(volume, limit)) == names


def test_cookies(volume: Volume) -> None:
    """Cookies rise, begin at 3, and fit in 63 bits; those below, and beyond all, are answered too."""
    for i in range(50):
        volume.make(b"%d" % i)
    page, complete = list_directory(volume.state, ROOT, 0, 100)
    cookies = [listed.cookie for listed in page]
    assert complete
    assert cookies == sorted(set(cookies))
    assert 3 <= cookies[0] <= cookies[-1] < 1 << 63
    assert [listed.inode for listed in page] == [volume.find(listed.name) for listed in page]
    for start in (1, 2):
        assert list_directory(volume.state, ROOT, start, 100)[0] == page
    assert list_directory(volume.state, ROOT, (1 << 63) - 1, 100) == ([], True)


def test_cookie_of_a_name_that_is_gone(volume: Volume) -> None:
    """Listing goes on behind a name that was removed or moved away."""
    for i in range(10):
        volume.make(b"%d" % i)
    names = list_all(volume, 100)
    cookie = list_directory(volume.state, ROOT, 0, 5)[0][-1].cookie
    volume.do(Unlink(ROOT, names[4]))
    volume.make(b"d", DIRECTORY)
    volume.do(Rename(ROOT, names[3], InodeNumber(12), b"x"))
    rest = [listed.name for listed in list_directory(volume.state, ROOT, cookie, 100)[0]]
    assert [n for n in rest if n != b"d"] == names[5:]


def test_pages_fit_in_a_frame(volume: Volume) -> None:
    """A page of links with the longest targets ends before it outgrows a frame, and nothing is lost."""
    for i in range(150):
        volume.make(b"%d" % i, LINK, target=b"x" * 4095)
    page, complete = list_directory(volume.state, ROOT, 0, 1024)
    assert not complete
    assert DIRECTORY_PAGE_BYTES_MAX < sum(len(e.inode.target) for e in page) + 100 * len(page) < 1 << 19
    assert len(set(list_all(volume, 1024))) == 150


class CountingStore(MemoryStore):
    """Counts the rows that ranges give."""

    rows = 0

    def range(self, start: bytes, end: bytes, limit: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """As the store, counting."""
        for row in super().range(start, end, limit):
            self.rows += 1
            yield row


def test_listing_is_linear() -> None:
    """10,000 entries in pages of 100: every name once, and hardly more rows are read than there are."""
    volume = Volume()
    for i in range(10_000):
        volume.make(b"%d" % i)
    counting = CountingStore()
    for key, value in volume.store.range(b"", b"\xff"):
        counting.put(key, value)
    volume.state.store = counting
    names = list_all(volume, 100)
    assert len(names) == len(set(names)) == 10_000
    assert counting.rows <= 10_000 * 1.05


def test_lookup(volume: Volume) -> None:
    """A free name is None; a parent that is no directory, or not there, is refused."""
    file = volume.make(b"f")
    assert lookup(volume.state, ROOT, b"f") == file
    assert lookup(volume.state, ROOT, b"x" * 1000) is None
    for parent, number in ((file.number, errno.ENOTDIR), (InodeNumber(77), errno.ENOENT)):
        with pytest.raises(NamespaceRefusal) as refusal:
            lookup(volume.state, parent, b"f")
        assert refusal.value.number == number
    with pytest.raises(NamespaceRefusal):
        list_xattrs(volume.state, InodeNumber(77))


def test_ranges_of_a_file(volume: Volume) -> None:
    """Extents come cut to what was asked for; holes are left out."""
    file = volume.make(b"f").number
    volume.write(file, 10, b"abcdef")
    volume.write(file, 20, b"ghijkl", inline=True)

    def within(start: int, end: int) -> list[tuple[int, int, int]]:
        return [(offset, e.length, e.at) for offset, e in extents_within(volume.state, file, start, end)]

    assert within(0, 100) == [(10, 6, 0), (20, 6, 0)]
    assert within(12, 22) == [(12, 4, 2), (20, 2, 0)]
    assert within(13, 14) == [(13, 1, 3)]
    assert within(16, 20) == within(26, 90) == within(12, 12) == []
    assert volume.read(file, 12, 10) == b"cdef\0\0\0\0gh"


def test_orphans(volume: Volume) -> None:
    """Some of them, as many as asked for."""
    for i in range(5):
        volume.make(b"%d" % i, stat.S_IFIFO | 0o600)
        volume.do(Unlink(ROOT, b"%d" % i))
    assert orphans(volume.state, 3) == [2, 3, 4]
    assert len(orphans(volume.state, 99)) == 5


def test_rows_are_the_entries_that_a_mount_decodes() -> None:
    """What a daemon sends without decoding it is what encoding the decoded entries gives, byte for byte."""
    volume = Volume()
    for number in range(50):
        volume.make(b"file %d" % number)
    volume.make(b"folder", mode=DIRECTORY)
    volume.make(b"link", mode=LINK, target=b"somewhere")
    rows, complete = list_rows(volume.state, ROOT, 0, 40)
    listed, also = list_directory(volume.state, ROOT, 0, 40)
    assert complete is also is False
    assert encode_message(EntryRows(rows, complete)) == encode_message(Entries(tuple(listed), complete))
    assert [entry.inode for entry in listed] == [volume.state.inode(entry.inode.number) for entry in listed]
