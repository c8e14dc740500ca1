"""When reading a file changes its access time."""

from typing import Final

from dwd.model.units import NS_PER_S

_RELATIME_NS: Final = 24 * 3600 * NS_PER_S


def atime_is_due(atime: int, mtime: int, ctime: int, now: int) -> bool:
    """The relatime rule: at the first read after a change, and once a day. Times are ns since 1970."""
    return atime <= mtime or atime <= ctime or now - atime >= _RELATIME_NS
