"""A sealed page: 4096 bytes that begin with magic, version and flags, and end with an xxh3 of the rest.

Those three places are the same in every version, so that damage is told from a newer format: a page whose
checksum is wrong is damaged whatever its version says.
"""

import struct
from typing import Final

import xxhash

from dwd.model.checks import invariant
from dwd.model.errors import Fault, FormatTooNew
from dwd.model.units import KIB

PAGE_BYTES: Final = 4 * KIB

_PRELUDE: Final = struct.Struct("<8sII")  # magic, version, flags (none in version 1)
_SEAL: Final = struct.Struct("<Q")  # xxh3_64 of everything before it
_SEAL_OFFSET: Final = PAGE_BYTES - _SEAL.size

BODY_BYTES: Final = _SEAL_OFFSET - _PRELUDE.size


def seal(magic: bytes, version: int, body: bytes) -> bytes:
    """The page around a body, which is padded with zeros."""
    invariant(len(body) <= BODY_BYTES, "F1", f"a body of {len(body)} bytes does not fit in a page")
    page = (_PRELUDE.pack(magic, version, 0) + body).ljust(_SEAL_OFFSET, b"\0")
    return page + _SEAL.pack(xxhash.xxh3_64_intdigest(page))


def unseal(page: bytes, magic: bytes, version: int, damaged: type[Fault]) -> bytes:
    """The body of a page that is whole and of this version.

    Raises:
        FormatTooNew: a newer version wrote it.
        damaged: anything else is wrong.
    """
    if len(page) != PAGE_BYTES:
        raise damaged(f"the page has {len(page)} bytes instead of {PAGE_BYTES}")
    (checksum,) = _SEAL.unpack_from(page, _SEAL_OFFSET)
    if xxhash.xxh3_64_intdigest(page[:_SEAL_OFFSET]) != checksum:
        raise damaged("the page does not match its checksum")
    found_magic, found_version, flags = _PRELUDE.unpack_from(page)
    if found_magic != magic:
        raise damaged(f"the page begins with {found_magic!r} instead of {magic!r}")
    if found_version > version or flags:
        raise FormatTooNew(f"format version {found_version}, flags {flags:#x}; this program reads up to {version}, 0x0")
    if found_version < 1:
        raise damaged(f"format version {found_version} never existed")
    return page[_PRELUDE.size : _SEAL_OFFSET]
