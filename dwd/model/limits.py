"""Every bound of the system: the unit in the name, the reason beside it, the relations asserted.

Each bound says what happens at it: refuse, wait, drop or shed.
"""

from typing import Final

from dwd.model.checks import invariant
from dwd.model.units import KIB, MIB, TIB

NAME_BYTES_MAX: Final = 255  # refuse: ENAMETOOLONG; NAME_MAX of Linux
SYMLINK_BYTES_MAX: Final = 4095  # refuse: ENAMETOOLONG; PATH_MAX less the final NUL
FILE_BYTES_MAX: Final = 16 * TIB  # refuse: EFBIG
LINKS_MAX: Final = 65_000  # refuse: EMLINK; the figure of ext4
XATTR_NAME_BYTES_MAX: Final = 255  # refuse: ERANGE; XATTR_NAME_MAX of Linux
XATTR_VALUE_BYTES_MAX: Final = 64 * KIB  # refuse: E2BIG; XATTR_SIZE_MAX of Linux
XATTR_BYTES_PER_INODE_MAX: Final = 1 * MIB  # refuse: ENOSPC; one inode must not fill the log
XATTR_LIST_BYTES_MAX: Final = 64 * KIB  # refuse: E2BIG; XATTR_LIST_MAX of Linux: names, each with its NUL

SEGMENT_BYTES_MAX: Final = 4 * MIB  # refuse; one encode, one frame, one repair
SEGMENT_RANGES_MAX: Final = 4096  # refuse; bounds the time of one apply
SHARDS_MAX: Final = 32  # refuse; k+m of the widest protection
BLOCK_BYTES: Final = 16 * KIB  # of a shard: the unit of checksum, and the least that a read touches

INLINE_BYTES_MAX: Final = 64 * KIB  # of one write: more goes to a segment (D2)
INLINE_VOLUME_BYTES_HIGH: Final = 16 * MIB  # above this the mover packs inline data into segments

FRAME_BODY_BYTES_MAX: Final = 1 * MIB  # drop the connection; a message without its raw payload
FRAME_PAYLOAD_BYTES_MAX: Final = SEGMENT_BYTES_MAX  # drop the connection
READ_BYTES_MAX: Final = 1 * MIB  # refuse; what one FUSE request can ask
DIRECTORY_PAGE_ENTRIES_MAX: Final = 1024  # the reply is cut there; the cookie goes on
DIRECTORY_PAGE_BYTES_MAX: Final = 256 * KIB  # likewise: a link's target may have 4 KiB
REQUEST_FIELD_BYTES_MAX: Final = 128 * KIB  # refuse; twice the longest that POSIX has an errno for
LABEL_CHARACTERS_MAX: Final = 4096  # refuse; the path of a mount point
CONVERSIONS_MAX: Final = 1024  # refuse: EOVERFLOW; conversions under way, of directories or files
SESSION_OUTCOMES_MAX: Final = 1 << 20  # refuse: EOVERFLOW; requests that a mount sends beyond its oldest unanswered one
CONNECTIONS_MAX: Final = 256  # of one socket: the next is closed at once

WAL_RECORD_BYTES_MAX: Final = 8 * MIB  # refuse; a batch must fit in one record
WAL_FILE_BYTES: Final = 16 * MIB  # preallocated; the next file is begun when the batch does not fit

invariant(SEGMENT_BYTES_MAX <= FRAME_PAYLOAD_BYTES_MAX, "L1", "a segment must fit in a frame")
invariant(INLINE_BYTES_MAX < FRAME_BODY_BYTES_MAX, "L2", "an inline write must fit in a command")
invariant(WAL_RECORD_BYTES_MAX < WAL_FILE_BYTES, "L3", "a record must fit in a WAL file")
invariant(READ_BYTES_MAX <= FRAME_PAYLOAD_BYTES_MAX, "L4", "a read's reply must fit in a frame")
