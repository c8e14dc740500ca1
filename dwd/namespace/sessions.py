"""Sessions of mounts: a request that is retried after a lost reply is answered from what it came to the first time.

The outcomes of a session are kept until it says that it has them (`answered`), so a retry is
exactly-once over connections, crashes and changes of leader. A session that runs too far ahead of what it says it
has is refused: what is kept of it is bounded.
"""

import errno
from typing import Final

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import RequestNumber, SessionId
from dwd.model.limits import SESSION_OUTCOMES_MAX
from dwd.namespace import keys, records
from dwd.namespace.commands import CloseSession, Command, OpenSession
from dwd.namespace.outcomes import Done, Outcome, Refused, pack_outcome, unpack_outcome
from dwd.namespace.records import SessionRecord
from dwd.namespace.state import State

_LAST: Final = RequestNumber((1 << 63) - 1)  # no request has a number so high
_STEP_MAX: Final = 64  # a watermark that rises by no more names the rows that go; finding them costs a range

FORGET_LEAST = 32  # outcomes dropped at once


def find_session(state: State, session: SessionId) -> SessionRecord | None:
    """The record of a session, or None."""
    raw = state.store.get(keys.session(session))
    return None if raw is None else records.SESSION.decode(raw)


def open_session(state: State, op: OpenSession) -> Done:
    """Begin a session; opening it again changes nothing."""
    if find_session(state, op.session) is not None:
        raise NamespaceRefusal(errno.EEXIST)
    record = SessionRecord(state.index, op.label, state.time, RequestNumber(1))
    state.put_session(keys.session(op.session), record)
    return Done()


def close_session(state: State, op: CloseSession) -> Done:
    """End a session and forget its outcomes."""
    rows = _kept(state, op.session, RequestNumber(0), _LAST)
    for key in (*rows, keys.session(op.session)):
        state.delete(key)
    state.newest_requests.pop(op.session, None)
    return Done()


def _kept(state: State, session: SessionId, first: RequestNumber, end: RequestNumber) -> list[bytes]:
    return [key for key, _ in state.store.range(keys.outcome(session, first), keys.outcome(session, end))]


def _outcomes(state: State, session: SessionId, first: RequestNumber, end: RequestNumber) -> list[bytes]:
    """Keys that cover every outcome kept of the requests first <= number < end."""
    if end - first > _STEP_MAX:
        return _kept(state, session, first, end)
    return [keys.outcome(session, RequestNumber(number)) for number in range(first, end)]


def find_outcome(state: State, session: SessionId, request: RequestNumber) -> Outcome | None:
    """What a request came to, if it was done before and is not forgotten.

    Almost every request is newer than all that were kept, and then the store is not asked.
    """
    if request > _newest(state, session):
        return None
    kept = state.store.get(keys.outcome(session, request))
    return None if kept is None else unpack_outcome(kept)


def _newest(state: State, session: SessionId) -> RequestNumber:
    """The greatest request of which an outcome is kept; 0 if there is none."""
    known = state.newest_requests.get(session)
    if known is None:
        row = state.store.last(keys.outcome(session, RequestNumber(0)), keys.outcome(session, _LAST))
        known = RequestNumber(0 if row is None else int.from_bytes(row[0][-8:], "big"))
        state.newest_requests[session] = known
    return known


def recall(state: State, command: Command) -> Outcome | None:
    """What this request came to before, or None if it is new; a session that is closed or too far ahead is refused."""
    kept = find_outcome(state, command.session, command.request)
    if kept is not None:
        return kept
    record = find_session(state, command.session)
    if record is None or command.request < record.first_kept:
        return Refused(errno.ESTALE)
    if command.request - record.first_kept >= SESSION_OUTCOMES_MAX:
        return Refused(errno.EOVERFLOW)
    return None


def remember(state: State, command: Command, outcome: Outcome) -> None:
    """Keep the outcome, and drop those that the session has: some at a time, for it is work at every command."""
    record = find_session(state, command.session)
    if record is None:
        return
    state.put_outcome(keys.outcome(command.session, command.request), pack_outcome(outcome))
    state.newest_requests[command.session] = max(command.request, _newest(state, command.session))
    first = RequestNumber(min(command.answered, command.request - 1) + 1)
    if first - record.first_kept >= FORGET_LEAST:
        for key in _outcomes(state, command.session, record.first_kept, first):
            state.delete(key)
        state.put_session(
            keys.session(command.session),
            SessionRecord(state.index, record.label, record.opened, first),
        )
