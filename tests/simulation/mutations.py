"""Bugs that others shipped, to be put back into a copy of the core: each must be caught, or the net has a hole.

A mutation replaces exact text. If the text is not there any more, the test fails, and the mutation is to be brought up
to date. `source` says who had the bug, or which rule of research/raft.md §2.2 it breaks.
"""

from typing import Final

import attrs

RAFT: Final = "dwd/raft"  # whichever of its modules has the text
WAL: Final = "dwd/codec/wal_frame.py"
REGISTERS: Final = "tests/simulation/registers.py"

_JOINT: Final = """            self.voters,
            _ordered(learners - old),
            _ordered(learners & old),
"""
_AT_ONCE: Final = """            (),
            _ordered(learners),
            (),
"""
_BY_ONE: Final = """        old = frozenset(self.voters)
        if len(voters ^ old) > 1:
            raise BadRequest("one at a time")
"""


@attrs.frozen
class Edit:
    """One replacement of text that is exactly once in a file, or in the modules of a folder."""

    path: str
    old: str
    new: str


@attrs.frozen
class Mutation:
    """One bug."""

    name: str
    source: str
    edits: tuple[Edit, ...]


def _one(name: str, source: str, path: str, old: str, new: str) -> Mutation:
    return Mutation(name, source, (Edit(path, old, new),))


ELECTION: Final = (
    _one(
        "a vote is given without looking at the log",
        "LeaderCompleteness",
        RAFT,
        "return able and (request",
        "return able or (request",
    ),
    _one(
        "a pre-vote is given without looking at the log",
        "NuRaft #134",
        RAFT,
        "return able and (request",
        "return able and request.pre or able and (request",
    ),
    _one(
        "two votes in a term",
        "ElectionSafety",
        RAFT,
        "free = self.vote in (NOBODY, request.sender) and leader in (NOBODY, request.sender)",
        "free = True",
    ),
    _one(
        "pre-votes are counted as votes",
        "ElectionSafety",
        RAFT,
        "self._votes = {self._id: True}",
        "self._votes[self._id] = True",
    ),
    _one(
        "the vote is not written before it is given",
        "tikv #8381, pysyncobj #84",
        RAFT,
        "promised = promise != self._written_promise or snapshot is not None",
        "promised = snapshot is not None",
    ),
    _one(
        "a side door raises the term of a leader",
        "hashicorp/raft #695",
        RAFT,
        "self._become_follower(message.term, message.sender if leads else NOBODY)",
        "self.elections.enter(message.term)",
    ),
    _one(
        "a refused pre-vote does not tell the term",
        "etcd #8501, openraft #1796, redpanda #2071",
        RAFT,
        "return message.pre and message.granted",
        "return message.pre",
    ),
    _one(
        "a candidate of an older term gets no answer",
        "etcd #8501, hashicorp #606",
        RAFT,
        "elif isinstance(message, VoteRequest):",
        "elif message is None:",
    ),
    _one(
        "no CheckQuorum",
        "etcd: PreVote without CheckQuorum",
        RAFT,
        "if not self._replication.hears_a_quorum():",
        "if self._elapsed < 0:",
    ),
    _one(
        "locality by refusing votes",
        "NuRaft #30, raft-rs #511",
        RAFT,
        "return able and (request",
        "return able and not self._patience and (request",
    ),
)

COMMITMENT: Final = (
    _one(
        "entries of older terms are committed by counting",
        "Raft §5.4.2",
        RAFT,
        "if index <= self._log.committed or self._log.term(index) != self._term:",
        "if index <= self._log.committed:",
    ),
    _one(
        "a leader counts itself before its own sync",
        "CommittedIsDurable",
        RAFT,
        "match[self._id] = self._log.written",
        "match[self._id] = self._log.last_index",
    ),
    _one(
        "entries are not synced",
        "Jepsen NATS 2.12.1, pysyncobj #84",
        RAFT,
        "must_sync = promised or (bool(entries) and (",
        "must_sync = promised or (not entries and (",
    ),
    _one(
        "a write that ended vouches for what replaced it",
        "etcd: ABA with async writes",
        RAFT,
        "if entry.index > self.written and self.term(entry.index) == entry.term:",
        "if self.written < entry.index <= self.last_index:",
    ),
    _one(
        "half of an even number is a majority",
        "CommittedIsDurable",
        RAFT,
        "indices[(len(indices) - 1) // 2]",
        "indices[len(indices) // 2]",
    ),
    _one(
        "a follower takes the leader's commit for what it has not compared",
        "StateMachineSafety",
        RAFT,
        "log.commit_to(LogIndex(min(message.commit, last)))",
        "log.commit_to(LogIndex(min(message.commit, log.last_index)))",
    ),
    _one(
        "a heartbeat's commit is not held back to the match",
        "openraft #1501",
        RAFT,
        "commit = min(progress.match, self._log.committed)",
        "commit = self._log.committed",
    ),
    _one(
        "a late append truncates what came after it",
        "LeaderAppendOnly, CommittedIsDurable",
        RAFT,
        "if self.term(entry.index) != entry.term:",
        "if self.term(entry.index) != entry.term or at == 0:",
    ),
    _one(
        "next falls to match or below",
        "etcd raft #149",
        RAFT,
        "LogIndex(max(self.match, min(index - 1, retry_from)))",
        "LogIndex(min(self.match, index - 1, retry_from) - 1)",
    ),
    _one(
        "what was applied before a restart is applied again",
        "etcd 3.5 postmortem",
        RAFT,
        "        self.applied = applied\n        invariant(",
        "        self.applied = recovery.base_index\n        invariant(",
    ),
    _one(
        "a damaged record at the end is cut off and voted over",
        "Jepsen NATS 2.12.1; FAST'18 protocol-aware recovery",
        WAL,
        "return Tail.DAMAGED, at",
        "return Tail.TORN, at",
    ),
    _one(
        "no checksum over what a record says",
        "pysyncobj #202",
        WAL,
        "xxh3_64_intdigest(payload, number) == header.payload_digest",
        "header.payload_digest >= 0",
    ),
)

MEMBERSHIP: Final = (
    _one(
        "one step from any membership to any other",
        "Ongaro raft-dev 2015",
        RAFT,
        _JOINT,
        _AT_ONCE,
    ),
    Mutation(
        "single-server changes by a leader that has committed nothing yet",
        "Ongaro raft-dev 2015",
        (
            Edit(RAFT, _JOINT, _AT_ONCE),
            Edit(RAFT, "if not self._settled:\n", "if not self._elapsed < 0:\n"),
            Edit(RAFT, "        old = frozenset(self.voters)\n", _BY_ONE),
        ),
    ),
    Mutation(
        "a joint configuration is left before it is committed",
        "camunda #60086",
        (
            Edit(
                RAFT,
                "        if membership.index <= self._log.committed:\n            if",
                "        if membership.index > 0:\n            if",
            ),
            Edit(
                RAFT,
                'invariant(membership.index <= self._log.committed, "R14", "two changes of membership at once")',
                "pass",
            ),
        ),
    ),
    Mutation(
        "a change on top of a change",
        "openraft docs 2025-04",
        (
            Edit(
                RAFT,
                "if membership.index > self._log.committed or membership.current.is_joint:",
                "if membership.index < 0:",
            ),
            Edit(
                RAFT,
                'invariant(membership.index <= self._log.committed, "R14", "two changes of membership at once")',
                "pass",
            ),
            Edit(RAFT, "invariant(not self.is_joint,", "invariant(self.voters is not None,"),
        ),
    ),
    _one(
        "a joint vote needs one majority only",
        "Raft §6",
        RAFT,
        "second = _majority_says(self.outgoing, votes) if self.outgoing else Outcome.WON",
        "second = Outcome.WON",
    ),
    _one(
        "a joint commit needs one majority only",
        "Raft §6",
        RAFT,
        "return min(index, _majority_has(self.outgoing, match)) if self.outgoing else index",
        "return index",
    ),
    _one(
        "truncation does not take a configuration back",
        "Raft §6: the last in the log",
        RAFT,
        "        self.membership.truncated(index)\n",
        "",
    ),
    _one(
        "a restart forgets who is a member",
        "hashicorp, canonical/raft: configuration not restored",
        RAFT,
        "known = recovery.configurations\n",
        "known = recovery.configurations[:0]\n",
    ),
    _one(
        "a removed leader goes on leading",
        "StepDownOnRemoval",
        RAFT,
        "        self.resigned = True\n",
        "",
    ),
    _one(
        "a witness that leads never hands over",
        "a witness has no state",
        RAFT,
        "if self._place.witness and self._transfer is None:",
        "if self._place.witness and self._elapsed < 0:",
    ),
)

READING: Final = (
    _one(
        "reads before an entry of the leader's own term is committed",
        "etcd #7331, tikv #9208, redisraft #22; etcd raft #105",
        RAFT,
        "if self._settled and ",
        "if ",
    ),
    _one(
        "the number of a read round is used again",
        "etcd #20418",
        RAFT,
        "self._newest += 1",
        "self._newest = 1",
    ),
    _one(
        "any answer to a heartbeat confirms a read",
        "etcd #20418",
        RAFT,
        "answered(reply.sender, reply.round)",
        "answered(reply.sender, self.reads.awaited)",
    ),
    _one(
        "a read's context is used again after a restart",
        "etcd #20418",
        RAFT,
        "self._incarnation = draw(INCARNATIONS)",
        "self._incarnation = draw(INCARNATIONS) * 0",
    ),
    _one(
        "a read is confirmed by one majority of a joint configuration",
        "Raft §6",
        RAFT,
        "if quorum.outcome({**votes, self._id: True}) is not Outcome.WON:",
        "if Voters(quorum.incoming).outcome({**votes, self._id: True}) is not Outcome.WON:",
    ),
    _one(
        "a new leader does not wait for the lease of the old",
        "raft-rs #141, LeaseGuard",
        RAFT,
        "        return not self._over\n",
        "        return False\n",
    ),
    _one(
        "a leader that hands over keeps its lease",
        "LeaseGuard",
        RAFT,
        "        self._given_up = True\n",
        "",
    ),
    _one(
        "a lease lasts from its commitment",
        "LeaseGuard: from the entry's making",
        RAFT,
        "self._from = self._made[0][1] if self._made else self._last_tick",
        "self._from = self._clock.now + self._clock.lease_ns // 4",
    ),
    _one(
        "a restart forgets that there may be a lease",
        "LeaseGuard",
        RAFT,
        "return self._took_since_tick or waited_tenths",
        "return self._took_at > 0 and waited_tenths",
    ),
)

SNAPSHOTS: Final = (
    _one(
        "a leader forgets to send the snapshot",
        "tikv #9859",
        RAFT,
        "        self._outbox.append(InstallSnapshot(self._id, node, self._term, offered))\n",
        "",
    ),
    _one(
        "a follower waits for ever for a snapshot that was lost",
        "tikv #11618",
        RAFT,
        "if self._snapshot_ticks >= SNAPSHOT_TICKS_MAX:",
        "if self._snapshot_ticks < 0:",
    ),
    _one(
        "a snapshot's configuration is not taken",
        "Jepsen Redis-Raft",
        RAFT,
        "        self.membership.restored(Placed(manifest.index, manifest.configuration))\n",
        "",
    ),
    Mutation(
        "an old snapshot is taken",
        "Jepsen Redis-Raft",
        (
            Edit(RAFT, "if manifest.index > log.committed:", "if manifest.index > 0:"),
            Edit(RAFT, "if log.term(manifest.index) == manifest.term:", "if manifest.index == 0:"),
            Edit(RAFT, 'invariant(manifest.index > self.committed, "R16", (manifest.index, self.committed))', "pass"),
        ),
    ),
)

SESSIONS: Final = (
    _one(
        "a retried command acts twice",
        "exactly-once: the harness itself",
        REGISTERS,
        "if session is not None and command.number <= session.number:",
        "if session is not None and command.number < session.number:",
    ),
)

ALL: Final = (*ELECTION, *COMMITMENT, *MEMBERSHIP, *READING, *SNAPSHOTS, *SESSIONS)
