"""POSIX access control lists as the kernel passes them, and how they hang together with the mode.

The kernel enforces them; the file system keeps mode and list in step and hands defaults down
(libfuse, FUSE_CAP_POSIX_ACL; POSIX 1003.1e draft 17, section 23.1).
Layout: version 2 (u32), then entries of tag (u16), permissions (u16), id (u32), little-endian.
"""

import errno
import struct
from typing import Final

import attrs

from dwd.model.errors import NamespaceRefusal

ACCESS: Final = b"system.posix_acl_access"
DEFAULT: Final = b"system.posix_acl_default"

_VERSION: Final = struct.pack("<I", 2)
_ENTRY: Final = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_TAGS: Final = frozenset({_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER})
_PERMISSIONS: Final = 0o777


@attrs.frozen
class AclEntry:
    """One line of a list."""

    tag: int
    permissions: int
    id: int


@attrs.frozen
class Acl:
    """A list with exactly one owner, owning group and other, and a mask if it names anybody."""

    entries: tuple[AclEntry, ...]

    @property
    def is_minimal(self) -> bool:
        """Whether it says no more than a mode can."""
        return len(self.entries) == 3  # noqa: PLR2004 - owner, group, other

    def _permissions(self, tag: int) -> int:
        return next((e.permissions for e in self.entries if e.tag == tag), 0)

    @property
    def _group_class(self) -> int:
        has_mask = any(e.tag == _MASK for e in self.entries)
        return _MASK if has_mask else _GROUP_OBJ

    def mode(self, mode: int) -> int:
        """The mode with its nine permission bits as this list has them."""
        bits = self._permissions(_USER_OBJ) << 6 | self._permissions(self._group_class) << 3 | self._permissions(_OTHER)
        return mode & ~_PERMISSIONS | bits

    def with_mode(self, mode: int) -> "Acl":
        """The list after chmod: owner, mask (or owning group) and other follow the mode."""
        wanted = {_USER_OBJ: mode >> 6 & 7, self._group_class: mode >> 3 & 7, _OTHER: mode & 7}
        return Acl(tuple(attrs.evolve(e, permissions=wanted.get(e.tag, e.permissions)) for e in self.entries))

    def inherited(self, mode: int) -> "Acl":
        """The access list of a file made with `mode` below a directory with this default."""
        allowed = {_USER_OBJ: mode >> 6 & 7, self._group_class: mode >> 3 & 7, _OTHER: mode & 7}
        return Acl(tuple(attrs.evolve(e, permissions=e.permissions & allowed.get(e.tag, 7)) for e in self.entries))


def decode_acl(raw: bytes) -> Acl | None:
    """Read a list; None when it is empty, which removes it.

    Raises:
        NamespaceRefusal: EINVAL for what is no valid list.
    """
    if len(raw) < len(_VERSION) or raw[: len(_VERSION)] != _VERSION or (len(raw) - len(_VERSION)) % _ENTRY.size:
        raise NamespaceRefusal(errno.EINVAL, "not a POSIX ACL of version 2")
    entries = tuple(AclEntry(*fields) for fields in _ENTRY.iter_unpack(raw[len(_VERSION) :]))
    if not entries:
        return None
    tags = [e.tag for e in entries]
    single = all(tags.count(tag) == 1 for tag in (_USER_OBJ, _GROUP_OBJ, _OTHER)) and tags.count(_MASK) <= 1
    named = _USER in tags or _GROUP in tags
    known = set(tags) <= _TAGS and all(e.permissions <= 7 for e in entries)  # noqa: PLR2004 - rwx
    if not (single and known and (not named or _MASK in tags)):
        raise NamespaceRefusal(errno.EINVAL, "a POSIX ACL that misses an entry or has one twice")
    return Acl(entries)


def encode_acl(acl: Acl) -> bytes:
    """The list as the kernel passes it."""
    return _VERSION + b"".join(_ENTRY.pack(e.tag, e.permissions, e.id) for e in acl.entries)
