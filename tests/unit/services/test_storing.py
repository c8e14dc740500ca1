"""Which protection the segment of a Store gets."""

from contextlib import AbstractContextManager, nullcontext
from typing import cast

import pytest

from dwd.model.ids import RequestNumber, SessionId
from dwd.model.protection import Protection
from dwd.namespace.commands import FileData, SetProtection
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper
from dwd.services.storing import FileWriter
from dwd.wire.messages import Store
from tests.unit.namespace.volume import MIRROR, NONE, RS, Volume
from tests.unit.services.stand_ins import DirectMetadata, MemorySegments


class RoomySpace:
    """A volume that is never full."""

    def room_for(self, length: int) -> AbstractContextManager[None]:
        """There is."""
        assert length
        return nullcontext()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([None], MIRROR),
        ([RS], RS),
        ([NONE, NONE], NONE),
        ([None, RS, NONE], RS),
        ([RS, Protection(1, 2), Protection(10, 2)], Protection(1, 2)),
    ],
)
async def test_strongest_of_the_files(files: list[Protection | None], expected: Protection) -> None:
    """A file's own or the volume's; should several have come together, nobody gets less than was promised."""
    volume = Volume()
    data = []
    for i, protection in enumerate(files):
        number = volume.make(b"%d" % i).number
        volume.do(SetProtection(number, protection))
        data.append(FileData(number, ((0, 5, 5 * i),)))
    late = volume.make(b"late").number
    volume.do(SetProtection(late, Protection(1, 5)))
    data.append(FileData(late, mtime=5))  # it has no bytes in the segment
    segments = MemorySegments(volume, MIRROR)
    writer = FileWriter(
        cast("Metadata", DirectMetadata(volume)), cast("Segments", segments), cast("SpaceKeeper", RoomySpace())
    )
    request = Store(RequestNumber(1), RequestNumber(0), tuple(data), durable=False)
    await writer.store(SessionId(b""), request, bytearray(b"bytes" * len(files)), 5 * len(files))
    assert segments.wanted == [expected]
    assert [segment.protection for segment in volume.state.segments(b"S")] == [expected]
    assert volume.read(data[0].number) == b"bytes"
    assert not segments.in_flight
