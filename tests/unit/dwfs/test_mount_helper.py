"""What mount(8) and /etc/fstab say, in the words of `dwfs mount`."""

from collections.abc import Sequence

import pytest

from dwfs import cli, mount_helper

AT = "/mnt/x"


def translated(*argv: str) -> list[str]:
    """What `dwfs` would be called with."""
    return mount_helper.dwfs_arguments(mount_helper.parse(argv))


@pytest.mark.parametrize("spec", ["dwfs", "dwfs#"])
def test_default_folder(spec: str) -> None:
    """A spec that names no folder leaves the choice to dwfs."""
    assert translated(spec, AT) == ["mount", "--", AT]


@pytest.mark.parametrize(("spec", "folder"), [("/srv/d", "/srv/d"), ("dwfs#/srv/d", "/srv/d"), ("d#e", "d#e")])
def test_folder_from_spec(spec: str, folder: str) -> None:
    """The spec is the data folder, with or without the type in front of it."""
    assert translated(spec, AT) == ["mount", "--data", folder, "--", AT]


def test_options_for_mount_alone_are_dropped() -> None:
    """What /etc/fstab says to mount(8), init or nobody never reaches dwfs, and leaves no empty -o."""
    said = "rw,defaults,noauto,nofail,_netdev,user,user=ann,users,exec,x-systemd.automount,X-mount.mkdir,comment=a"
    assert translated("dwfs", AT, "-o", said) == ["mount", "--", AT]


@pytest.mark.parametrize("option", ["ro", "noatime", "allow_other", "default_permissions", "nosuid", "nodev", "noexec"])
def test_options_of_the_file_system_are_kept(option: str) -> None:
    """What restricts or changes the mount is passed on, an unknown option too."""
    assert translated("dwfs", AT, "-o", f"rw,{option},nofail") == ["mount", "-o", option, "--", AT]


def test_options_keep_their_order_over_groups() -> None:
    """Several -o are one list: the last of two that contradict each other must stay the last."""
    assert translated("dwfs", AT, "-o", "ro,,suid", "-o", "strange=1") == ["mount", "-o", "ro,suid,strange=1", "--", AT]


def test_flags_of_mount_before_and_after() -> None:
    """mount(8) puts its flags behind the two names, people in front of them."""
    assert translated("dwfs", AT, "-sn", "-v", "-t", "fuse.dwfs", "-o", "ro") == ["mount", "-o", "ro", "--", AT]
    assert translated("-v", "-o", "ro", "dwfs", AT) == ["mount", "-o", "ro", "--", AT]


def test_mount_point_that_looks_like_an_option() -> None:
    """`dwfs` cannot take the mount point for an option of its own."""
    assert translated("--", "dwfs", "-x")[-2:] == ["--", "-x"]


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 32), (3, 32)])
def test_exit_status(status: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number `dwfs mount` fails with, mount(8) hears its own 'mount failure'."""
    calls: list[Sequence[str] | None] = []

    def fake_main(argv: Sequence[str] | None = None) -> int:
        calls.append(argv)
        return status

    monkeypatch.setattr(cli, "main", fake_main)
    assert mount_helper.main(["/srv/d", AT, "-o", "rw"]) == expected
    assert calls == [["mount", "--data", "/srv/d", "--", AT]]


def test_fake_mounts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mount -f` checks the words and stops there."""
    monkeypatch.setattr(cli, "main", lambda _: pytest.fail("mounted"))
    assert mount_helper.main(["dwfs", AT, "-f"]) == 0


def test_missing_mount_point_is_refused() -> None:
    """A call with one name is none that mount(8) makes."""
    with pytest.raises(SystemExit, match="2"):
        mount_helper.main(["dwfs"])
