"""Sessions: every request is done once, however often it is sent."""

import errno

from dwd.model.ids import ROOT, SessionId
from dwd.model.limits import SESSION_OUTCOMES_MAX
from dwd.namespace import keys
from dwd.namespace.commands import CloseSession, MakeNode, OpenSession, Unlink
from dwd.namespace.outcomes import Done, Refused
from dwd.namespace.sessions import FORGET_LEAST, find_session
from tests.unit.namespace.volume import FILE, Volume

ME, OTHER = SessionId(b"m" * 16), SessionId(b"n" * 16)


def opened(volume: Volume, *sessions: SessionId) -> None:
    """Open sessions."""
    for session in sessions:
        volume.do(OpenSession(session, "/mnt"))


def make(volume: Volume, name: bytes) -> MakeNode:
    """A new file."""
    return MakeNode(ROOT, name, volume.next_number, FILE, 0, 0)


def kept(volume: Volume, session: SessionId = ME) -> list[int]:
    """The requests whose outcomes are kept."""
    return [int.from_bytes(k[17:], "big") for k, _ in volume.store.range(*keys.table(b"Q")) if k[1:17] == session]


def test_retry_gets_the_first_outcome(volume: Volume) -> None:
    """A request sent again is answered as the first time and changes nothing, whatever happened since."""
    opened(volume, ME)
    first = volume.outcome(make(volume, b"f"), ME, 1)
    volume.do(Unlink(ROOT, b"f"))
    before = volume.rows()
    assert volume.outcome(make(volume, b"f"), ME, 1) == first
    assert volume.rows() == before


def test_refusals_are_remembered(volume: Volume) -> None:
    """A retry of what was refused is refused, even where it would succeed by now."""
    opened(volume, ME)
    assert volume.outcome(Unlink(ROOT, b"f"), ME, 1) == Refused(errno.ENOENT)
    volume.make(b"f")
    assert volume.outcome(Unlink(ROOT, b"f"), ME, 1) == Refused(errno.ENOENT)
    assert volume.find(b"f") is not None


def test_sessions_are_apart(volume: Volume) -> None:
    """The same number of another session is another request."""
    opened(volume, ME, OTHER)
    assert isinstance(volume.outcome(make(volume, b"f"), ME, 1), Done)
    assert volume.outcome(make(volume, b"f"), OTHER, 1) == Refused(errno.EEXIST)


def test_watermark(volume: Volume) -> None:
    """What the session says it has is forgotten in steps, but never this request; a late retry is ESTALE."""
    opened(volume, ME)
    last = FORGET_LEAST + 2
    for request in range(1, last + 1):
        volume.outcome(make(volume, b"%d" % request), ME, request, answered=FORGET_LEAST - 1)
    assert kept(volume) == list(range(1, last + 1))
    volume.outcome(make(volume, b"a"), ME, last + 1, answered=FORGET_LEAST)
    assert kept(volume) == [last - 1, last, last + 1]
    assert volume.outcome(make(volume, b"x"), ME, FORGET_LEAST) == Refused(errno.ESTALE)
    assert isinstance(volume.outcome(make(volume, b"x"), ME, last - 1), Done)
    assert volume.find(b"x") is None
    volume.outcome(make(volume, b"b"), ME, 3 * last, answered=9999)
    assert kept(volume) == [3 * last]


def test_watermark_never_falls(volume: Volume) -> None:
    """A request that says less than an earlier one brings nothing back."""
    opened(volume, ME)
    far = FORGET_LEAST + 5
    volume.outcome(make(volume, b"a"), ME, far, answered=far - 1)
    volume.outcome(make(volume, b"b"), ME, far + 1, answered=0)
    record = find_session(volume.state, ME)
    assert record is not None
    assert (record.first_kept, kept(volume)) == (far, [far, far + 1])


def test_watermark_rises_far(volume: Volume) -> None:
    """A watermark that leaps costs the rows that are there, not the numbers between."""
    opened(volume, ME)
    for request in (*range(1, 100), SESSION_OUTCOMES_MAX):
        volume.outcome(Unlink(ROOT, b"none"), ME, request)
    far = SESSION_OUTCOMES_MAX - 1
    assert isinstance(volume.outcome(make(volume, b"a"), ME, far, answered=far), Done)
    assert kept(volume) == [far, far + 1]


def test_requests_are_bounded(volume: Volume) -> None:
    """A session that runs further ahead than its bound is refused, and nothing of it is kept."""
    opened(volume, ME)
    for request in (SESSION_OUTCOMES_MAX + 1, 1 << 62):
        outcome = volume.outcome(make(volume, b"a"), ME, request, answered=request - 1)
        assert outcome == Refused(errno.EOVERFLOW)
    assert kept(volume) == []


def test_closed_session(volume: Volume) -> None:
    """A session that is closed, or never was, is refused with ESTALE; its outcomes are gone, others' are not."""
    opened(volume, ME, OTHER)
    volume.outcome(make(volume, b"f"), ME, 1)
    volume.outcome(make(volume, b"g"), OTHER, 1)
    volume.do(CloseSession(ME))
    assert (kept(volume), kept(volume, OTHER)) == ([], [1])
    assert volume.outcome(make(volume, b"f"), ME, 1) == Refused(errno.ESTALE)
    assert volume.outcome(make(volume, b"h"), ME, 2) == Refused(errno.ESTALE)
    assert kept(volume) == []
    volume.do(CloseSession(ME))


def test_opened_twice(volume: Volume) -> None:
    """An id can be given once while it lives."""
    opened(volume, ME)
    assert volume.refused(OpenSession(ME, "/other")) == errno.EEXIST
    record = find_session(volume.state, ME)
    assert record is not None
    assert (record.label, record.opened, record.first_kept) == ("/mnt", volume.log[1].time, 1)
