"""Sessions of mounts: a request that is retried after a lost reply is answered from what it came to the first time.

The outcomes of a session are kept until it says that it has them (`answered`), so a retry is
exactly-once over connections, crashes and changes of leader.
"""

import errno

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import RequestNumber, SessionId
from dwd.namespace import keys, records
from dwd.namespace.commands import CloseSession, Command, OpenSession
from dwd.namespace.outcomes import Done, Outcome, Refused, pack_outcome, unpack_outcome
from dwd.namespace.records import SessionRecord
from dwd.namespace.state import State


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
    start = keys.outcome(op.session, RequestNumber(0))
    rows = [key for key, _ in state.store.range(start, start[:-8] + b"\xff" * 8)]
    for key in (*rows, keys.session(op.session)):
        state.delete(key)
    return Done()


def recall(state: State, command: Command) -> Outcome | None:
    """What this request came to before, or None if it is new. A session that was closed gets ESTALE."""
    kept = state.store.get(keys.outcome(command.session, command.request))
    if kept is not None:
        return unpack_outcome(kept)
    record = find_session(state, command.session)
    if record is None or command.request < record.first_kept:
        return Refused(errno.ESTALE)
    return None


def remember(state: State, command: Command, outcome: Outcome) -> None:
    """Keep the outcome, and drop those that the session has."""
    record = find_session(state, command.session)
    if record is None:
        return
    state.put_outcome(keys.outcome(command.session, command.request), pack_outcome(outcome))
    first = RequestNumber(min(command.answered, command.request - 1) + 1)
    if first > record.first_kept:
        for request in range(record.first_kept, first):
            state.delete(keys.outcome(command.session, RequestNumber(request)))
        state.put_session(
            keys.session(command.session),
            SessionRecord(state.index, record.label, record.opened, first),
        )
