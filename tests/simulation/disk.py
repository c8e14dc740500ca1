"""The write-ahead log of a simulated disk, in real frames. What is not synced is at the mercy of a power cut.

Rules are those of dwd/adapters/wal_file.py: space is zero before it is written, sectors are written whole or not at
all, a sync is followed by a new page, a file has its name only after the file before it is durable, and after a failed
sync nothing is tried again. The judge of what a power cut or rot left is the real one, dwd.codec.wal_frame.scan.
"""

import random
from itertools import pairwise
from typing import Final

import attrs

from dwd.codec.wal_frame import (
    PAGE_BYTES,
    FileHeader,
    Tail,
    encode_file_header,
    encode_record,
    framed_length,
    scan,
)
from dwd.model.errors import CorruptWal
from dwd.model.ids import VolumeId
from dwd.model.units import KIB, round_up

FILE_BYTES: Final = 64 * KIB
_SECTOR_BYTES: Final = 512
_FILLING: Final = 0xA5  # behind the payload of a record
_VOLUME: Final = VolumeId(bytes(16))


@attrs.define
class _File:
    content: bytearray
    first_sequence: int


class WalOnDisk:
    """The log of one node: what outlives its process."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self.appended = 0
        self.synced = 0
        self._position = 0
        self._synced_to = 0  # of the last file: nothing before is ever written again
        self._add_file(0)

    def append(self, payload: bytes) -> None:
        """Add a record: it survives the process, not a power cut."""
        length = framed_length(len(payload))
        if self._position + length > len(self._files[self._number].content):
            self.sync()
            self._add_file(PAGE_BYTES + length)
        self.appended += 1
        record = encode_record(payload, self.appended, self.synced, self._number)
        self._files[self._number].content[self._position : self._position + length] = record
        self._position += length

    def sync(self) -> None:
        """All that was appended survives a power cut."""
        self.synced = self.appended
        self._position = self._synced_to = round_up(self._position, PAGE_BYTES)

    def forget_before(self, sequence: int) -> None:
        """Drop the files whose records all lie before `sequence`."""
        numbers = sorted(self._files)
        for number, following in pairwise(numbers):
            if self._files[following].first_sequence <= sequence:
                del self._files[number]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(len(file.content) for file in self._files.values())

    def lose_unsynced(self, chance: random.Random) -> None:
        """A power cut: of the sectors written since the last sync, some reached the disk, in any order."""
        content = self._files[self._number].content
        sectors = range(self._synced_to, self._position, _SECTOR_BYTES)
        kept = _surviving(len(sectors), chance)
        for at, survives in zip(sectors, kept, strict=True):
            if not survives:
                content[at : at + _SECTOR_BYTES] = bytes(min(_SECTOR_BYTES, len(content) - at))

    def rot(self, chance: random.Random) -> bool:
        """Flip a bit in a synced record. False: there is none."""
        files = [
            (file, self._synced_to if number == self._number else len(file.content))
            for number, file in sorted(self._files.items())
        ]
        file, end = files[-1] if chance.random() < 0.5 else chance.choice(files)
        written = [at for at in range(PAGE_BYTES, end, PAGE_BYTES) if any(file.content[at : at + 8])]
        if not written:
            return False
        page = written[-1] if chance.random() < 0.5 else chance.choice(written)
        used = bytes(file.content[page : page + PAGE_BYTES]).rstrip(b"\0")
        # Not in what fills up a record: it says nothing, and so nothing tells that it changed.
        at = chance.choice([at for at, byte in enumerate(used) if byte != _FILLING])
        file.content[page + at] ^= 1 << chance.randrange(8)
        return True

    def open(self) -> list[tuple[int, bytes]]:
        """Read it all back, cut off a torn tail, and make the rest durable: sequence numbers and payloads.

        Raises:
            CorruptWal: a record that may have been acknowledged is damaged.
        """
        found: list[tuple[int, bytes]] = []
        for number, file in sorted(self._files.items()):
            data = bytes(file.content)
            content = scan(data, file.first_sequence, number)
            following = self._files.get(number + 1)
            if content.tail is Tail.DAMAGED or (following and following.first_sequence != content.next_sequence):
                raise CorruptWal(f"file {number}, byte {content.bad_offset}")
            found += [
                (sequence, data[offset : offset + length])
                for sequence, (offset, length) in enumerate(content.spans, file.first_sequence)
            ]
            if following is None:
                file.content[content.end :] = bytes(len(data) - content.end)
                self._position, self.appended = content.end, content.next_sequence - 1
        self.sync()
        return found

    @property
    def _number(self) -> int:
        return max(self._files)

    def _add_file(self, least: int) -> None:
        number = max(self._files, default=0) + 1
        header = FileHeader(_VOLUME, number, self.appended + 1)
        size = max(FILE_BYTES, round_up(least, PAGE_BYTES))
        content = bytearray(encode_file_header(header)) + bytes(size - PAGE_BYTES)
        self._files[number] = _File(content, header.first_sequence)
        self._position = self._synced_to = PAGE_BYTES


def _surviving(count: int, chance: random.Random) -> list[bool]:
    """Which of the last writes a power cut spared: none, all, the first few, or any."""
    match chance.randrange(4):
        case 0:
            return [False] * count
        case 1:
            return [True] * count
        case 2:
            first = chance.randint(0, count)
            return [at < first for at in range(count)]
        case _:
            return [chance.random() < 0.5 for _ in range(count)]
