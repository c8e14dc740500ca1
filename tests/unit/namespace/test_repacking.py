"""Plans of what is packed anew: bounded, complete in the end, and void where the bytes changed meanwhile."""

from dwd.model.ids import InodeNumber, SegmentId
from dwd.model.limits import SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.namespace.commands import FileData, Relocate, SetPolicy, StoreData
from dwd.namespace.repacking import RepackPlan, plan_compaction, plan_inline
from tests.unit.namespace.volume import MIRROR, NONE, RS, Volume

START = SegmentId(0)


def perform(volume: Volume, plan: RepackPlan) -> int:
    """Copy as the repacker does; says how many extents moved."""
    payload, relocations = b"", []
    for move in plan.moves:
        relocations.append(move.relocation(len(payload)))
        extent = move.extent
        raw = extent.data if extent.inline else volume.written[extent.segment][extent.at : extent.at + extent.length]
        payload += raw
    assert len(payload) == plan.bytes
    return volume.do(Relocate(volume.segment(payload, plan.protection), tuple(relocations))).value


def test_inline_bytes_are_packed(volume: Volume) -> None:
    """A plan holds the inline extents of all files and nothing else; done, none is left."""
    files = [volume.make(b"%d" % i).number for i in range(3)]
    for number in files:
        volume.write(number, 0, b"inline" + b"%d" % number, inline=True)
        volume.write(number, 100, b"segment")
    before = [volume.read(number) for number in files]
    plan = plan_inline(volume.state, NONE)
    assert [move.number for move in plan.moves] == files
    assert perform(volume, plan) == 3
    assert plan_inline(volume.state, NONE).moves == ()
    assert volume.state.volume.inline_bytes == 0
    assert [volume.read(number) for number in files] == before


def test_inline_plan_is_bounded(volume: Volume) -> None:
    """A plan has at most one segment's worth of bytes and of ranges; the next goes on."""
    file, many = volume.make(b"f").number, volume.make(b"g").number
    for i in range(70):
        volume.write(file, i << 16, bytes(1 << 16), inline=True)
    plan = plan_inline(volume.state, NONE)
    assert plan.bytes == SEGMENT_BYTES_MAX
    assert perform(volume, plan) == 64
    volume.do(StoreData(None, (FileData(many, (), tuple((2 * i, b"x") for i in range(5000))),)))
    assert len(plan_inline(volume.state, NONE).moves) == SEGMENT_RANGES_MAX
    while (plan := plan_inline(volume.state, NONE)).moves:
        perform(volume, plan)
    assert volume.state.volume.inline_bytes == 0


def test_only_mostly_dead_segments(volume: Volume) -> None:
    """A segment of which half lives stays; one with less is emptied, and then it is garbage."""
    file = volume.make(b"f").number
    volume.write(file, 0, b"a" * 100)
    volume.write(file, 0, b"b" * 50)
    assert plan_compaction(volume.state, START, NONE) == (RepackPlan((), NONE), START)
    volume.write(file, 50, b"c")
    before = volume.read(file)
    plan, following = plan_compaction(volume.state, START, NONE)
    assert [(move.offset, move.extent.length) for move in plan.moves] == [(51, 49)]
    assert following == START
    assert perform(volume, plan) == 1
    assert volume.read(file) == before
    assert [segment.id for segment in volume.state.segments(b"G")] == [next(iter(volume.written))]


def test_plan_goes_on_where_it_was_full(volume: Volume) -> None:
    """What does not fit in one plan is left to the next, from where that one ended."""
    file = volume.make(b"f").number
    size = SEGMENT_BYTES_MAX // 4
    for i in range(10):
        volume.write(file, i * size * 2, bytes(size * 2))
    for i in range(10):
        volume.write(file, i * size * 2, bytes(size + 1))
    old = set(list(volume.written)[:10])
    position, turns = START, 0
    while {segment.id for segment in volume.state.segments(b"S")} & old:
        plan, position = plan_compaction(volume.state, position, NONE)
        assert 0 < plan.bytes <= SEGMENT_BYTES_MAX
        perform(volume, plan)
        turns += 1
        assert turns < 20
    assert turns == 3


def test_segment_in_more_pieces_than_a_plan_holds(volume: Volume) -> None:
    """A segment whose living bytes are scattered into more pieces than one plan may have is emptied by several."""
    file = volume.make(b"f").number
    pieces = SEGMENT_RANGES_MAX + 100
    volume.write(file, 0, bytes(range(1, 251)) * (3 * pieces // 250 + 1))
    first = next(iter(volume.written))
    for start in range(0, pieces, 2000):
        holes = tuple((3 * i + 1, b"!!") for i in range(start, min(start + 2000, pieces)))
        volume.do(StoreData(None, (FileData(file, (), holes),)))
    before = volume.read(file)
    turns = 0
    while volume.state.find_segment(SegmentId(first)) is not None:
        plan, _ = plan_compaction(volume.state, START, NONE)
        assert 0 < len(plan.moves) <= SEGMENT_RANGES_MAX
        assert perform(volume, plan) == len(plan.moves)
        turns += 1
        assert turns < 5
    assert turns == 2
    assert volume.read(file) == before


def test_files_that_share_a_segment(volume: Volume) -> None:
    """The living parts of all files that were packed together are found, where ranges covered each other too."""
    files = [volume.make(b"%d" % i).number for i in range(3)]
    segment = volume.segment(b"abcdefghij" * 3)
    data = [FileData(n, ((0, 5, 10 * i), (3, 5, 10 * i + 5))) for i, n in enumerate(files)]
    volume.do(StoreData(segment, tuple(data)))
    for number in files[:2]:
        volume.write(number, 2, b"......", inline=True)
    volume.write(files[2], 0, b"........", inline=True)
    before = [volume.read(number) for number in files]
    plan, _ = plan_compaction(volume.state, START, NONE)
    perform(volume, plan)
    assert volume.state.find_segment(segment.id) is None
    assert [volume.read(number) for number in files] == before


def test_inline_bytes_of_one_protection_at_a_time(volume: Volume) -> None:
    """Files that are to be stored differently never share a segment; every group has its turn."""
    wanted = [None, RS, MIRROR, RS, None]
    files = [volume.make(b"%d" % i).number for i in range(len(wanted))]
    for number, protection in zip(files, wanted, strict=True):
        volume.do(SetPolicy(number, protection))
        volume.write(number, 0, b"inline", inline=True)
    packed = []
    while (plan := plan_inline(volume.state, NONE)).moves:
        packed.append((plan.protection, [move.number for move in plan.moves]))
        perform(volume, plan)
    assert packed == [(NONE, [files[0], files[4]]), (RS, [files[1], files[3]]), (MIRROR, [files[2]])]


def test_compaction_keeps_protections_apart(volume: Volume) -> None:
    """What lives of segments that hold files of several protections goes into one new segment for each."""
    files = [volume.make(b"%d" % i).number for i in range(6)]
    for pair in (files[0:2], files[2:4], files[4:6]):
        data = tuple(FileData(number, ((0, 10, 10 * i),)) for i, number in enumerate(pair))
        volume.do(StoreData(volume.segment(bytes(100)), data))
    for number in files[::2]:
        volume.do(SetPolicy(number, RS))
    old = set(volume.written)
    position, plans = START, []
    while {segment.id for segment in volume.state.segments(b"S")} & old:
        plan, position = plan_compaction(volume.state, position, MIRROR)
        plans.append((plan.protection, {move.number for move in plan.moves}))
        assert perform(volume, plan) == len(plan.moves)
        assert len(plans) < 10
    assert plans == [(RS, set(files[::2])), (MIRROR, set(files[1::2]))]


def test_nothing_to_do(volume: Volume) -> None:
    """An empty volume needs no plan, wherever it is looked."""
    assert plan_inline(volume.state, NONE).moves == ()
    assert plan_compaction(volume.state, SegmentId(1 << 50), NONE) == (RepackPlan((), NONE), START)
    assert volume.state.extent_before(InodeNumber(9), 5) is None
