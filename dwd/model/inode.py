"""What a file is, apart from its bytes: the inode, as the store keeps it and as the mount shows it."""

import stat

import msgspec

from dwd.model.ids import InodeNumber, LogIndex
from dwd.model.protection import Protection
from dwd.model.units import div_ceil

_PERMISSIONS = 0o7777
_STAT_BLOCK_BYTES = 512


class Inode(msgspec.Struct, frozen=True, array_like=True):
    """One file, directory, link or special file.

    Times are ns since 1970; `changed` is the log index of its last change.
    """

    changed: LogIndex
    number: InodeNumber
    mode: int  # type and permissions, as in stat
    links: int  # of a directory: 2 and one for each directory in it
    uid: int
    gid: int
    atime: int
    mtime: int
    ctime: int
    size: int = 0  # bytes; of a directory: its entries
    allocated: int = 0  # bytes of its extents: a hole counts nothing
    device: int = 0  # of a device node
    parent: InodeNumber = InodeNumber(0)  # of a directory
    target: bytes = b""  # of a symbolic link
    xattr_bytes: int = 0  # names and values together
    protection: Protection | None = None  # of its bytes, or of what is made in it; None: the volume's

    @property
    def is_directory(self) -> bool:
        """Whether it holds entries."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether it holds bytes."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it holds a target."""
        return stat.S_ISLNK(self.mode)

    @property
    def kind(self) -> int:
        """The type bits of the mode."""
        return stat.S_IFMT(self.mode)

    @property
    def stat_blocks(self) -> int:
        """Blocks of 512 bytes, as st_blocks says it."""
        return div_ceil(self.allocated, _STAT_BLOCK_BYTES)

    def with_permissions(self, mode: int) -> int:
        """Our type with the permissions of `mode`."""
        return self.kind | (mode & _PERMISSIONS)


def without_privileges(mode: int) -> int:
    """The mode after a write, truncate or chown by another: setuid goes, and setgid where it means anything."""
    mode &= ~stat.S_ISUID
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    return mode
