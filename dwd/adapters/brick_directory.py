"""A brick in a directory: one file a shard, header page then body, under shards/XX/SEGMENT.INDEX.

Rules: a shard is written once, under its final name, and never over another file; it is complete only if its
header and checksums verify, which every read checks for the blocks it touches. Any thread may call.
"""

import errno
import mmap
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dwd.adapters.brick_faults import brick_errors, read_error
from dwd.adapters.brick_identity import (
    SHARD_FOLDERS,
    SHARDS,
    SUPERBLOCK,
    check_brick,
    make_brick,
    probe_brick,
    shard_directory,
)
from dwd.adapters.cached_open import open_cached
from dwd.adapters.direct_files import BLOCK_BYTES as DIRECT_BLOCK_BYTES
from dwd.adapters.direct_files import DIRECT_BYTES_MIN, Staging, can_go_around, fill_directly, is_aligned
from dwd.adapters.durable_files import create_file
from dwd.adapters.shard_files import OpenShard, OpenShards, OpenShardsStatistics
from dwd.codec.blocks import covering_blocks, verify_blocks
from dwd.codec.shard_header import HEADER_BYTES, ShardHeader, decode_shard_header
from dwd.codec.superblock import Superblock
from dwd.model.errors import BrickFault, CorruptShard, FormatTooNew
from dwd.model.ids import BrickId, SegmentId, ShardIndex, VolumeId
from dwd.model.limits import BLOCK_BYTES
from dwd.ports import BrickSpace

_SHARD_NAME: Final = re.compile(r"([0-9a-f]{16})\.(0|[1-9][0-9]?)")
_PREFETCH_AT: Final = 2  # waits for one shard, so that a single small read does not cost a whole shard
_VERIFY_BYTES: Final = 16 * BLOCK_BYTES  # read at a time
_WOULD_WAIT: Final = frozenset({errno.EAGAIN, errno.EOPNOTSUPP})  # the second: a file system that cannot tell


def create_brick(path: Path, volume: VolumeId, brick: BrickId) -> "BrickDirectory":
    """Make an absent or empty folder a brick, and open it. Raises as make_brick and open_brick do."""
    make_brick(path, volume, brick)
    return open_brick(path, volume, brick)


def open_brick(path: Path, volume: VolumeId, brick: BrickId) -> "BrickDirectory":
    """Open a brick that exists.

    Raises:
        VolumeMismatch: the folder is another brick.
        BrickFault: it is missing, damaged or read-only.
        FormatTooNew: a newer version made it.
    """
    return BrickDirectory(path, check_brick(path, volume, brick))


class BrickDirectory:
    """The port Brick, on a directory. Made by create_brick and open_brick."""

    def __init__(self, path: Path, superblock: Superblock) -> None:
        self._path = path
        self._superblock = superblock
        self._open = OpenShards()
        with brick_errors(path, "look at its folder"):
            self._folder = _folder_id(path)
            self._staging = Staging() if can_go_around(path / SUPERBLOCK) else None

    @property
    def id(self) -> BrickId:
        """The identity in its superblock."""
        return self._superblock.brick

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def superblock(self) -> Superblock:
        """What the folder says of itself."""
        return self._superblock

    @property
    def uuid(self) -> bytes:
        """What tells it from every other folder that was ever given its id."""
        return self._superblock.uuid

    def probe(self) -> None:
        """See that the folder is still there, and still this brick. Changes nothing. Blocks.

        Raises:
            BrickFault: it is gone, or cannot be read.
            VolumeMismatch: another brick lies in its place.
        """
        probe_brick(self._path, self._superblock)
        with brick_errors(self._path, "look into its shard folders"):
            found = _folder_id(self._path)
            shards = len(os.listdir(self._path / SHARDS))
        if found != self._folder:
            raise BrickFault(f"brick {self._path}: another folder was put in its place; what it holds must be compared")
        if shards < SHARD_FOLDERS:
            raise BrickFault(f"brick {self._path}: {SHARD_FOLDERS - shards} of its shard folders are gone")

    def close(self) -> None:
        """Close the files that are kept open for reading; another read opens them anew."""
        self._open.close()

    def statistics(self) -> OpenShardsStatistics:
        """Return an immutable snapshot."""
        return self._open.statistics()

    def write_shard(self, segment: SegmentId, index: ShardIndex, image: Sequence[bytes | memoryview]) -> None:
        """Store a shard (header page, then body), durable when this returns, its name too. Blocks.

        A failure leaves nothing behind. A damaged shard must be removed before it is written anew.

        Raises:
            NoSpace: the device is full.
            BrickFault: anything else, also that the shard exists.
        """
        with brick_errors(self._path, f"write shard {segment:016x}.{index}"):
            if sum(map(len, image)) < DIRECT_BYTES_MIN or not self._create_directly(self._file(segment, index), image):
                create_file(self._file(segment, index), image)

    def _create_directly(self, path: Path, image: Sequence[bytes | memoryview]) -> bool:
        """Around the page cache; False: this file system has no such way."""
        if self._staging is None:
            return False
        try:
            create_file(path, image, self._staging)
        except OSError as error:
            if error.errno != errno.EINVAL:  # its blocks are larger than any that is known
                raise
            self._staging = None
            return False
        return True

    def read(self, segment: SegmentId, index: ShardIndex, offset: int, length: int, *, wait: bool) -> bytes | None:
        """Bytes [offset, offset+length) of a shard's body, each block verified against its checksum.

        With wait=False: None if the bytes are not in memory (never blocks on the disk).

        Raises:
            CorruptShard: a checksum, the header or the length is wrong, or it is another shard.
            ShardMissing: there is no such file.
            BrickFault: the disk failed.
            FormatTooNew: a newer version wrote it.
        """
        key = (segment, index)
        try:
            shard = self._open.borrow(key, lambda: self._open_shard(segment, index, wait=wait))
            if shard is None:
                return None
            try:
                return _read_verified(shard, offset, length, wait=wait)
            finally:
                self._open.give_back(shard)
        except OSError as error:
            raise read_error(self._path, f"read shard {segment:016x}.{index}", error) from error
        except (CorruptShard, FormatTooNew) as error:
            self._open.drop(key)  # a shard that is mended is another file
            raise self._located(segment, index, error) from error

    def read_into(self, segment: SegmentId, index: ShardIndex, body: memoryview) -> None:
        """Fill a buffer, as long as the shard's body, with all of it, verified. Blocks. Raises as read().

        For whoever walks over many shards: those that others keep open stay so.
        """
        with self._opened(segment, index, "read") as fd:
            page, filled = self._fill_directly(segment, index, body)
            header = self._decode_header(page or _read(fd, 0, HEADER_BYTES), fd, segment, index)
            if header.shard_length != len(body):
                raise CorruptShard(f"its body has {header.shard_length} bytes instead of {len(body)}")
            _fill(fd, HEADER_BYTES + filled, body[filled:])
            verify_blocks(header.checksums, 0, body)

    def _fill_directly(self, segment: SegmentId, index: ShardIndex, body: memoryview) -> tuple[bytes, int]:
        """The header page, and how many bytes of the body are filled: none, if there is no way around the cache."""
        blocks = len(body) - len(body) % DIRECT_BLOCK_BYTES
        if self._staging is None or blocks < DIRECT_BYTES_MIN or not is_aligned(body):
            return b"", 0
        with mmap.mmap(-1, HEADER_BYTES) as page:
            try:
                with memoryview(page) as view:
                    count = fill_directly(self._file(segment, index), [view, body[:blocks]])
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._staging, count = None, 0
            return (page[:], min(blocks, count - HEADER_BYTES)) if count >= HEADER_BYTES else (b"", 0)

    def verify_shard(self, segment: SegmentId, index: ShardIndex) -> None:
        """Read all of a shard and check it, header and every block. Blocks. Raises as read()."""
        with self._opened(segment, index, "verify") as fd:
            self._verify(fd, segment, index)

    @contextmanager
    def _opened(self, segment: SegmentId, index: ShardIndex, purpose: str) -> Iterator[int]:
        """A file of its own. What goes wrong with it tells where it lies."""
        try:
            fd = os.open(self._file(segment, index), os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
        except OSError as error:
            raise read_error(self._path, f"{purpose} shard {segment:016x}.{index}", error) from error
        except (CorruptShard, FormatTooNew) as error:
            raise self._located(segment, index, error) from error

    def remove_shard(self, segment: SegmentId, index: ShardIndex) -> None:
        """Delete a shard; one that is not there is no error. Blocks.

        A power cut may bring it back: whoever collects garbage meets it again in list_shards.
        """
        path = self._file(segment, index)
        with brick_errors(self._path, f"remove shard {segment:016x}.{index}"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)  # somebody's mistake, which must not keep the shard from coming back
            else:
                path.unlink(missing_ok=True)
        self._open.drop((segment, index))

    def list_shards(self) -> Iterator[tuple[SegmentId, ShardIndex]]:
        """Every shard file here, in no order; files that are none are passed over. Blocks."""
        for number in range(SHARD_FOLDERS):
            with brick_errors(self._path, "list its shards"):
                names = os.listdir(self._path / SHARDS / shard_directory(number))
            for name in names:
                match = _SHARD_NAME.fullmatch(name)
                if match is not None and int(match[1], 16) % 256 == number:
                    yield SegmentId(int(match[1], 16)), ShardIndex(int(match[2]))

    def space(self) -> BrickSpace:
        """Room on the device. Raises BrickFault."""
        with brick_errors(self._path, "ask for its free space"):
            room = os.statvfs(self._path)
            device = self._path.stat().st_dev
        return BrickSpace(total=room.f_blocks * room.f_frsize, free=room.f_bavail * room.f_frsize, device=device)

    def _file(self, segment: SegmentId, index: ShardIndex) -> Path:
        return self._path / SHARDS / shard_directory(segment % 256) / f"{segment:016x}.{index}"

    def _located(self, segment: SegmentId, index: ShardIndex, error: CorruptShard | FormatTooNew) -> Exception:
        return type(error)(f"brick {self.id} ({self._path}), shard {segment:016x}.{index}: {error}")

    def _open_shard(self, segment: SegmentId, index: ShardIndex, *, wait: bool) -> OpenShard | None:
        path = self._file(segment, index)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if wait else open_cached(path)
        if fd is None:
            return None
        shard = None
        try:
            page = _read(fd, 0, HEADER_BYTES) if wait else _read_cached(fd, 0, HEADER_BYTES)
            if page is not None:
                shard = OpenShard(fd, self._decode_header(page, fd, segment, index))
            return shard
        finally:
            if shard is None:
                os.close(fd)

    def _verify(self, fd: int, segment: SegmentId, index: ShardIndex) -> None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # what the page cache holds says nothing about the disk
        header = self._decode_header(_read(fd, 0, HEADER_BYTES), fd, segment, index)
        for start in range(0, header.shard_length, _VERIFY_BYTES):
            length = min(_VERIFY_BYTES, header.shard_length - start)
            verify_blocks(header.checksums, start, _read(fd, HEADER_BYTES + start, length))

    def _decode_header(self, page: bytes, fd: int, segment: SegmentId, index: ShardIndex) -> ShardHeader:
        header = decode_shard_header(page)
        if (header.volume, header.segment, header.index) != (self._superblock.volume, segment, index):
            raise CorruptShard(
                f"the file holds shard {header.segment:016x}.{header.index} of volume {header.volume.hex()}"
            )
        size = os.fstat(fd).st_size
        if size != HEADER_BYTES + header.shard_length:
            raise CorruptShard(f"the file has {size} bytes instead of {HEADER_BYTES + header.shard_length}")
        return header


def _read_verified(shard: OpenShard, offset: int, length: int, *, wait: bool) -> bytes | None:
    body_length = shard.header.shard_length
    if not 0 <= offset <= offset + length <= body_length:
        raise CorruptShard(f"bytes {offset} to {offset + length} are asked for of a body of {body_length}")
    start, end = covering_blocks(offset, length, body_length)
    if wait:
        data: bytes | None = _read(shard.fd, HEADER_BYTES + start, end - start)
        _prefetch_if_asked_often(shard)
    else:
        data = _read_cached(shard.fd, HEADER_BYTES + start, end - start)
    if data is None:
        return None
    verify_blocks(shard.header.checksums, start, data)
    return data if (start, end - start) == (offset, length) else data[offset - start : offset - start + length]


def _prefetch_if_asked_often(shard: OpenShard) -> None:
    """Let the kernel fetch all of a shard that was waited for before: small reads come in company."""
    shard.waits += 1
    if shard.waits == _PREFETCH_AT:
        os.posix_fadvise(shard.fd, HEADER_BYTES, 0, os.POSIX_FADV_WILLNEED)


def _read(fd: int, offset: int, length: int) -> bytes:
    """All the bytes. A short count is asked about again: the next answer tells a bad sector from the end.

    Raises:
        CorruptShard: the file ends before them.
    """
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            raise CorruptShard(f"the file ends at byte {offset + len(data)}, before byte {offset + length}")
        data += more
    return data


def _fill(fd: int, offset: int, buffer: memoryview) -> None:
    """All the bytes that there is room for. Raises as _read does."""
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], offset + done)
        if not count:
            raise CorruptShard(f"the file ends at byte {offset + done}, before byte {offset + len(buffer)}")
        done += count


def _read_cached(fd: int, offset: int, length: int) -> bytes | None:
    """All the bytes, or None if some are not in memory."""
    buffer = bytearray(length)
    try:
        count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in _WOULD_WAIT:
            return None
        raise
    return bytes(buffer) if count == length else None


def _folder_id(path: Path) -> tuple[int, int]:
    """What tells a folder from a copy of it that was put in its place."""
    found = path.stat()
    return found.st_dev, found.st_ino
