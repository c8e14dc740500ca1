"""What a mount is started with: the options of -o, read into one frozen value.

Rules: an option that is not known is refused, with its name; one that restricts is never dropped.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from dwd.model.errors import BadConfig

TIMEOUT_DEFAULT_S: Final = 30.0
_TIMEOUT_MAX_S: Final = 3600.0
_SUBTYPE: Final = "dwfs"
_FOR_THE_KERNEL: Final = frozenset({"dev", "nodev", "suid", "nosuid", "exec", "noexec", "dirsync"})
_DEFAULTS: Final = frozenset({"rw", "async", "defaults", "default_permissions", "relatime"})  # so it is anyway
_SWITCHES: Final = ("ro", "noatime", "allow_other", "sync")
SOCKET_NAME: Final = "mount.sock"  # in the data folder
DATA_VARIABLE: Final = "DWFS_DATA"


@attrs.frozen
class MountOptions:
    """The -o options."""

    read_only: bool = False
    atime: bool = True  # by the relatime rule
    allow_other: bool = False
    sync: bool = False  # every write and every change is durable before it returns
    timeout: float = TIMEOUT_DEFAULT_S  # of waiting for a daemon that does not answer
    fsname: str | None = None
    kernel: tuple[str, ...] = ()

    def for_fuse(self, data: Path) -> set[str]:
        """What libfuse is told. The source that df and mount show is the data folder, unless named."""
        name = os.fsencode(self.fsname or data).decode("ascii", "backslashreplace")  # pyfuse3 takes nothing else
        name = name.replace("\\", "\\\\").replace(",", "\\,")
        options = {f"fsname={name}", f"subtype={_SUBTYPE}", "default_permissions", *self.kernel}
        if self.allow_other:
            options.add("allow_other")
        if self.read_only:
            options.add("ro")
        if not self.atime:
            options.add("noatime")
        return options


@attrs.frozen
class VolumeOptions:
    """How a local volume is made, if it is not there: what `dwd serve` is told."""

    data: Path
    bricks: int | None = None
    brick_paths: tuple[Path, ...] = ()
    protection: str | None = None
    metadata_mirrors: int | None = None


def default_data() -> Path:
    """The data folder when none is named."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else Path.home() / ".local/share/dwfs"


def parse_options(words: Iterable[str], *, is_root: bool) -> MountOptions:
    """Read the words of -o. A mount by root is for every user, as any file system's.

    Raises:
        BadConfig: a word is unknown, or its value cannot be used.
    """
    options = MountOptions(allow_other=is_root)
    for word in words:
        options = _with_option(options, word)
    return options


def _with_option(options: MountOptions, word: str) -> MountOptions:
    name, _, value = word.partition("=")
    if name == "timeout":
        return attrs.evolve(options, timeout=_timeout(value))
    if name == "fsname" and value:
        return attrs.evolve(options, fsname=value)
    if word in _FOR_THE_KERNEL:
        return attrs.evolve(options, kernel=(*options.kernel, word))
    if word in _DEFAULTS:
        return options
    switched = _switched(options, word)
    if switched is not None:
        return switched
    known = ", ".join(sorted({*_SWITCHES, *_FOR_THE_KERNEL, *_DEFAULTS, "timeout=SECONDS", "fsname=NAME"}))
    raise BadConfig(f"mount option {word!r} is unknown; known are: {known}")


def _switched(options: MountOptions, word: str) -> MountOptions | None:
    match word:
        case "ro":
            return attrs.evolve(options, read_only=True)
        case "noatime":
            return attrs.evolve(options, atime=False)
        case "allow_other":
            return attrs.evolve(options, allow_other=True)
        case "sync":
            return attrs.evolve(options, sync=True)
        case _:
            return None


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _TIMEOUT_MAX_S:
        raise BadConfig(f"mount option timeout={text!r}: give seconds, more than 0 and at most {_TIMEOUT_MAX_S:.0f}")
    return seconds
