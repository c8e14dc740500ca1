"""What a seed decides before anything happens: the cluster's shape and how bad its world is.

Every kind of fault may occur in every seed; a seed draws how often, and for some of them never. Times are in units of
the virtual clock, TICK of them to a node's tick; rates are events in a hundred ticks of the whole cluster.
"""

import random
from typing import Final

import attrs

TICK: Final = 100


@attrs.frozen
class Options:
    """The world of one seed."""

    seed: int
    voters: int
    clients: int
    keys: int
    ticks: int  # of the phase with faults

    drop: float
    double: float
    delay: int
    straggle: float  # messages that come very late
    partitions: float
    at_leaders: float  # of all faults
    one_way: float  # of the partitions
    flapping: float  # of the partitions

    power_cuts: float
    kills: float
    pauses: float
    drift: float  # clocks differ by up to this ratio
    lease: int  # ticks, 0: none; only where clocks keep within what a lease allows for
    jumps: float

    crash_points: float  # between two steps of a process
    early: bool  # Append and Heartbeat leave before the write, as Ready allows
    sync: int  # longest time that a sync takes
    sync_errors: float
    full_disks: float
    rot: float
    wipes: float

    conf_changes: float
    transfers: float
    big_changes: float  # of the changes: most voters at once
    snapshots: float
    snapshot_entries: int  # compact when so many entries were applied since the last time
    trailing_entries: int  # and keep so many behind

    append_bytes: int  # of one message
    write_bytes: int  # of one Ready
    in_flight: int  # messages to one follower

    proposals: float  # idle clients that begin an operation within a tick
    reads: float  # of the operations
    probes: bool  # whoever believes that it leads is asked for reads all the time, and others now and then

    @classmethod
    def drawn(cls, seed: int, chance: random.Random) -> "Options":
        """Some worlds are calm, some are not."""
        pick = chance.choice
        drift = pick((0, 0.05, 0.5))
        return cls(
            seed=seed,
            voters=pick((1, 2, 3, 3, 3, 3, 4, 5, 5)),
            clients=pick((2, 4, 6)),
            keys=pick((1, 3, 6)),
            ticks=pick((300, 450, 600)),
            drop=pick((0, 0.02, 0.1, 0.3)),
            double=pick((0, 0.05, 0.2)),
            delay=pick((10, 50, 150, 500)),
            straggle=pick((0, 0.01, 0.05)),
            partitions=pick((0, 2, 4, 8)),
            at_leaders=pick((0, 0.5)),
            one_way=pick((0, 0.4)),
            flapping=pick((0, 0.3)),
            power_cuts=pick((0, 1, 3, 6)),
            kills=pick((0, 1, 3)),
            pauses=pick((0, 1, 3)),
            drift=drift,
            lease=pick((0, 8, 30)) if drift < 0.1 else 0,
            jumps=pick((0, 1)),
            crash_points=pick((0, 0, 0.001, 0.01)),
            early=pick((False, True)),
            sync=pick((0, 0, 30, 150)),
            sync_errors=pick((0, 0, 0.5)),
            full_disks=pick((0, 0, 1)),
            rot=pick((0, 0, 0.5)),
            wipes=pick((0, 0, 0.5)),
            conf_changes=pick((0, 3, 8, 15)),
            transfers=pick((0, 1, 4)),
            big_changes=pick((0, 0.3)),
            snapshots=pick((0, 0, 2)),
            snapshot_entries=pick((5, 20, 60)),
            trailing_entries=pick((0, 3, 20)),
            append_bytes=pick((1 << 20, 1 << 20, 100)),
            write_bytes=pick((4 << 20, 4 << 20, 150)),
            in_flight=pick((64, 64, 2)),
            proposals=pick((0.2, 0.5, 1.0)),
            reads=pick((0.2, 0.5, 0.8)),
            probes=pick((False, True)),
        )

    def __str__(self) -> str:
        """All of them on one line."""
        return " ".join(f"{name}={value}" for name, value in attrs.asdict(self).items())
