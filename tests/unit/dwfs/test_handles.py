"""Open files, and who hears of a failure."""

import errno
import os

from dwd.model.ids import InodeNumber
from dwfs.handles import Handles

ONE = InodeNumber(1)


def test_a_failure_is_told_once_to_each_handle() -> None:
    """Every handle that was open then hears it once; one that is opened later does not."""
    handles = Handles()
    first = handles.file(handles.open_file(ONE, os.O_RDWR, durable=False))
    assert handles.failed(ONE, errno.ENOSPC)
    later = handles.file(handles.open_file(ONE, os.O_RDWR, durable=False))
    assert [handles.take_error(first), handles.take_error(first)] == [errno.ENOSPC, 0]
    assert handles.take_error(later) == 0


def test_a_failure_of_a_closed_file_is_told_to_nobody() -> None:
    """failed() says so, and whoever asks writes it to the log."""
    handles = Handles()
    handles.close_file(handles.open_file(ONE, 0, durable=False))
    assert not handles.failed(ONE, errno.EIO)


def test_flags_of_a_handle() -> None:
    """O_SYNC and O_DSYNC make it durable, and so does a synchronous mount."""
    handles = Handles()
    opened = [
        handles.file(handles.open_file(ONE, flags, durable=durable))
        for flags, durable in ((0, False), (os.O_DSYNC, False), (os.O_SYNC, False), (0, True))
    ]
    assert [handle.durable for handle in opened] == [False, True, True, True]
    assert handles.file(handles.open_file(ONE, os.O_APPEND, durable=False)).append


def test_directories_are_found_by_inode() -> None:
    """All handles of one directory, and no others."""
    handles = Handles()
    fh = handles.open_directory(ONE)
    handles.open_directory(InodeNumber(2))
    assert handles.directories_of(ONE) == [handles.directory(fh)]
    handles.close_directory(fh)
    assert handles.directories_of(ONE) == []
