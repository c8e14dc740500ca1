"""The settings of a daemon: the command line over DATA/dwd.toml over defaults, in one frozen value.

Rules: every value is valid once it is here. An unknown key is refused, with its name and the file's.
"""

import importlib.metadata
import os
from pathlib import Path
from typing import Final

import attrs
import msgspec

from dwd.model.errors import BadConfig
from dwd.model.protection import parse_protection
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
    degraded: bool = False  # start although bricks are missing
    admin_group: str | None = None  # may use the admin socket, to observe

    def settings(self) -> dict[str, str]:
        """The settings that are set, as text."""
        texts = {
            "bricks": None if self.bricks is None else str(self.bricks),
            "brick_paths": ", ".join(shown_name(os.fsencode(path)) for path in self.brick_paths) or None,
            "protection": self.protection,
            "admin_group": self.admin_group,
        }
        return {name: text for name, text in texts.items() if text is not None}


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What DATA/dwd.toml may say. Paths are relative to its folder."""

    bricks: int | None = None
    brick_paths: tuple[str, ...] = ()
    protection: str | None = None
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
    check_settings("command line", given.bricks, bool(given.brick_paths), given.protection)
    bricks_given = given.bricks is not None or bool(given.brick_paths)
    return ServeOptions(
        data=data,
        bricks=given.bricks if bricks_given else file.bricks,
        brick_paths=tuple(
            brick.absolute() for brick in (given.brick_paths if bricks_given else _below(data, file.brick_paths))
        ),
        protection=given.protection or file.protection,
        degraded=given.degraded,
        admin_group=given.admin_group or file.admin_group,
    )


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


def _below(folder: Path, paths: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(folder / path for path in paths)
