"""What to do about each error code: one sentence, shown with the error and listed in docs/OPERATIONS.md."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REMEDIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bad-config": "Correct the setting or option; `dwd config check` says whether it is right.",
        "bad-request": "Use a `dwd` of the same version as the daemon: `dwd version`.",
        "brick-fault": "See `dwd status`; put the brick back or mend its disk.",
        "brick-in-use": "Drain it first: `dwd brick drain ID`; `--force --dry-run` says what it costs to go on.",
        "bug": "Keep the data folder and its log, and report it.",
        "corrupt-identity": "Keep the data folder as it is; put its identity file back from a copy.",
        "corrupt-shard": "Run `dwd fsck`; check the disk that holds the brick.",
        "corrupt-store": "Keep the data folder as it is; restore it from a copy or another node.",
        "corrupt-wal": "Keep the data folder as it is; restore the log's file from its mirror.",
        "data-busy": "Only one daemon may own a data folder: `dwd stop --data DIR`, or use another folder.",
        "error": "See the daemon's log.",
        "fault": "Mend what the message names and try again.",
        "format-too-new": "Use the newer version that wrote it; going back is not possible.",
        "namespace-refused": "Correct the path or the operation.",
        "no-space": "Remove files, or add room to the bricks.",
        "not-confirmed": "Type yes, or give --yes in a script; `--dry-run` says what would be done.",
        "not-leader": "Ask the node that leads: `dwd status` names it.",
        "not-permitted": "Run it as root or as the user that the daemon runs as.",
        "not-running": "Start it: `dwd serve --data DIR --background`, or `dwfs mount --data DIR MOUNTPOINT`.",
        "not-safe": "Add bricks first, or choose a protection that fits; `--force` does it all the same.",
        "nothing-to-do": "See how it stands: `dwd protect PATH --status`, `dwd heal status`, `dwd brick ls`.",
        "overloaded": "Ask again later; do less at once.",
        "refused": "Correct the request.",
        "reply-too-large": "Ask for less.",
        "segment-lost": "Put the missing bricks back: too few shards are readable.",
        "shard-missing": "Run `dwd fsck`; what the brick lacks is computed from the other shards.",
        "store-failed": "Mend the disk that holds the data folder, then start the daemon again.",
        "too-small": "Name a folder on a disk with more room.",
        "unknown-brick": "`dwd brick ls` lists the bricks.",
        "unknown-verb": "Use a `dwd` of the same version as the daemon: `dwd version`.",
        "unreachable": "See whether the daemon still works: its log, and `dwd status` again.",
        "usage": "See `dwd --help`.",
        "volume-mismatch": "Give the data folder and the bricks that belong together.",
        "wal-fault": "Mend the disk that holds the log, then start the daemon again.",
    }
)
