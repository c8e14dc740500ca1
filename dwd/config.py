"""The settings of a daemon: the command line over DATA/dwd.toml over defaults, in one frozen value.

Rules: every value is valid once it is here. An unknown key is refused, with its name and the file's.
"""

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import attrs
import msgspec

from dwd.model.errors import BadConfig
from dwd.model.limits import SHARDS_MAX
from dwd.model.protection import parse_protection
from dwd.model.tiers import Availability, Policy, Tier, choose_policy, parse_availability, parse_tier
from dwd.model.topology import Level
from dwd.wire.shown import shown_name

CONFIG_NAME: Final = "dwd.toml"
CONFIG_BYTES_MAX: Final = 1 << 20  # refuse
DATA_VARIABLE: Final = "DWFS_DATA"
_DISTRIBUTION: Final = "datawarehouse-fs"


@attrs.frozen
class ServeOptions:
    """What a daemon is started with. None: as the volume was made; of a new volume, the default."""

    data: Path
    bricks: int | None = None  # so many folders below the data folder
    brick_paths: tuple[Path, ...] = ()  # or these folders
    protection: str | None = None
    metadata_mirrors: int | None = None  # so many, also on one device
    tier: Tier | None = None  # chooses what is not said otherwise
    availability: Availability | None = None
    failure_domain: Level | None = None
    scrub_days: int | None = None
    existing: bool = False  # never make a volume: it is there, or it can be restored, or the start fails
    strict: bool = True  # bricks and protection were said for this start: an existing volume must be so
    admin_group: str | None = None  # may use the admin socket, to observe

    def settings(self) -> dict[str, str]:
        """The settings that are set, as text."""
        texts = {
            "bricks": None if self.bricks is None else str(self.bricks),
            "brick_paths": ", ".join(shown_name(os.fsencode(path)) for path in self.brick_paths) or None,
            "protection": self.protection,
            "metadata_mirrors": None if self.metadata_mirrors is None else str(self.metadata_mirrors),
            "tier": self.tier,
            "availability": self.availability,
            "failure_domain": self.failure_domain,
            "scrub_days": None if self.scrub_days is None else str(self.scrub_days),
            "admin_group": self.admin_group,
        }
        return {name: text for name, text in texts.items() if text is not None}

    @property
    def policy(self) -> Policy:
        """What was said, and what the tier means for the rest. Raises BadConfig."""
        return choose_policy(
            self.tier or Tier.INDIVIDUAL,
            self.availability,
            protection=None if self.protection is None else parse_protection(self.protection),
            level=self.failure_domain,
            scrub_days=self.scrub_days,
            metadata_mirrors=self.metadata_mirrors or None,
        )


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What DATA/dwd.toml may say. Paths are relative to its folder."""

    bricks: int | None = None
    brick_paths: tuple[str, ...] = ()
    protection: str | None = None
    metadata_mirrors: int | None = None
    tier: str | None = None
    availability: str | None = None
    failure_domain: Level | None = None
    scrub_days: int | None = None
    admin_group: str | None = None


def default_data() -> Path:
    """The data folder when none is named."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else Path.home() / ".local/share/dwfs"


def program_version() -> str:
    """The version of what is installed."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0+not-installed"  # run from its source folder


def read_config(data: Path) -> ConfigFile:
    """Read the settings file of a data folder; absent, it says nothing.

    Raises:
        BadConfig: it cannot be read, or a key or value in it is wrong.
    """
    path = data / CONFIG_NAME
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return ConfigFile()
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > CONFIG_BYTES_MAX:
        raise BadConfig(f"{path}: longer than {CONFIG_BYTES_MAX} bytes")
    try:
        return msgspec.toml.decode(raw, type=ConfigFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: {error}") from error


def with_config(given: ServeOptions) -> ServeOptions:
    """Fill in from the settings file what the command line left open, and check everything.

    Raises:
        BadConfig: a setting is wrong; the text says which, and where it stands.
    """
    data = given.data.absolute()
    path = data / CONFIG_NAME
    file = read_config(data)
    check_settings(str(path), file.bricks, bool(file.brick_paths), file.protection)
    check_mirrors(str(path), file.metadata_mirrors)
    check_settings("command line", given.bricks, bool(given.brick_paths), given.protection)
    check_mirrors("command line", given.metadata_mirrors)
    bricks_given = given.bricks is not None or bool(given.brick_paths)
    options = ServeOptions(
        data=data,
        bricks=given.bricks if bricks_given else file.bricks,
        brick_paths=tuple(
            brick.absolute() for brick in (given.brick_paths if bricks_given else _below(data, file.brick_paths))
        ),
        protection=given.protection or file.protection,
        existing=given.existing,
        strict=bricks_given or given.protection is not None,
        metadata_mirrors=file.metadata_mirrors if given.metadata_mirrors is None else given.metadata_mirrors,
        tier=given.tier or _read(path, parse_tier, file.tier),
        availability=given.availability or _read(path, parse_availability, file.availability),
        failure_domain=given.failure_domain or file.failure_domain,
        scrub_days=file.scrub_days if given.scrub_days is None else given.scrub_days,
        admin_group=given.admin_group or file.admin_group,
    )
    _check_policy(path, options)
    return options


_Word = TypeVar("_Word")


def _read(path: Path, parse: Callable[[str], _Word], text: str | None) -> _Word | None:
    try:
        return None if text is None else parse(text)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error


def _check_policy(path: Path, options: ServeOptions) -> None:
    try:
        _ = options.policy
    except BadConfig as error:
        raise BadConfig(f"{path}, or the command line: {error}") from error


def check_settings(where: str, bricks: int | None, has_paths: bool, protection: str | None) -> None:  # noqa: FBT001
    """See that settings are possible, alone and together.

    Raises:
        BadConfig: they are not.
    """
    if bricks is not None and has_paths:
        raise BadConfig(f"{where}: give a number of bricks or their paths, not both")
    if bricks is not None and bricks < 1:
        raise BadConfig(f"{where}: bricks = {bricks}: at least one is needed")
    if protection is not None:
        try:
            parse_protection(protection)
        except BadConfig as error:
            raise BadConfig(f"{where}: {error}") from error


def check_mirrors(where: str, mirrors: int | None) -> None:
    """See that a number of mirrors is possible. Raises BadConfig."""
    if mirrors is not None and not 0 <= mirrors <= SHARDS_MAX:
        raise BadConfig(f"{where}: metadata mirrors = {mirrors}: give a number from 0 to {SHARDS_MAX}")


def _below(folder: Path, paths: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(folder / path for path in paths)
