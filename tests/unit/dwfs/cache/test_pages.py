"""A page of a directory."""

from dwd.model.ids import InodeNumber, LogIndex
from dwd.model.inode import Inode
from dwd.namespace.queries import Listed
from dwd.wire.messages import Entries
from dwfs.cache.pages import DirectoryPage


def entries(*cookies: int, complete: bool) -> Entries:
    """Entries whose names are their cookies."""
    inode = Inode(LogIndex(1), InodeNumber(9), 0o100644, 1, 0, 0, atime=0, mtime=0, ctime=0)
    return Entries(tuple(Listed(str(cookie).encode(), cookie, inode) for cookie in cookies), complete)


def names(page: DirectoryPage, cookie: int) -> list[bytes]:
    """The names behind a cookie."""
    return [entry.name for entry in page.behind(cookie)]


def test_a_listing_goes_on_behind_any_cookie_of_the_page() -> None:
    """The kernel may stop anywhere, and may go back."""
    page = DirectoryPage(0, entries(10, 20, 30, complete=True))
    assert names(page, 10) == [b"20", b"30"]
    assert names(page, 0) == [b"10", b"20", b"30"]
    assert names(page, 30) == []


def test_the_end_of_a_page_is_not_in_it() -> None:
    """Behind its last cookie the next page is asked for, unless the directory ends there."""
    assert not DirectoryPage(0, entries(10, 20, complete=False)).holds(20)
    assert DirectoryPage(0, entries(10, 20, complete=True)).holds(20)
    assert DirectoryPage(0, entries(10, 20, complete=False)).end == 20
    assert DirectoryPage(0, entries(10, 20, complete=True)).end is None
    assert not DirectoryPage(0, entries(10, complete=True)).holds(15)


def test_a_name_that_was_removed_does_not_come_back() -> None:
    """The kernel would keep it as a name that exists."""
    page = DirectoryPage(0, entries(10, 20, complete=True))
    page.remove(b"10")
    assert names(page, 0) == [b"20"]


def test_an_empty_directory_ends_at_once() -> None:
    """No entries, and no next page."""
    page = DirectoryPage(0, entries(complete=True))
    assert names(page, 0) == []
    assert page.end is None
