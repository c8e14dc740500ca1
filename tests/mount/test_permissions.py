"""Who may do what: the rules of modes, sticky, setgid, setuid and ACLs, as another user sees them."""

import os
import stat
from pathlib import Path

import pytest

from tests.mount.volume import NOBODY, Completed, Volume, run

pytestmark = [pytest.mark.mount, pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")]

_SOMEBODY = 12345


def _as_user(uid: int, script: str, folder: Path, groups: tuple[int, ...] = ()) -> Completed:
    return run("sh", "-c", script, check=False, cwd=folder, user=uid, groups=groups)


@pytest.fixture
def open_folder(folder: Path) -> Path:
    """A folder where everybody may do everything."""
    folder.chmod(0o777)
    return folder


def test_modes_hold_for_other_users(open_folder: Path) -> None:
    """What the mode denies is denied, for each of owner, group and others."""
    path = open_folder / "secret"
    path.write_bytes(b"secret\n")
    os.chown(path, _SOMEBODY, 777)
    path.chmod(0o640)
    assert _as_user(NOBODY, "cat secret", open_folder).returncode != 0
    assert _as_user(NOBODY, "cat secret", open_folder, (777,)).stdout == "secret\n"
    assert _as_user(NOBODY, "echo x >>secret", open_folder, (777,)).returncode != 0
    assert _as_user(_SOMEBODY, "echo x >>secret && cat secret", open_folder).stdout == "secret\nx\n"
    assert _as_user(
        NOBODY, "chmod 666 secret || chown 65534 secret || touch -d 2001-01-01 secret", open_folder
    ).returncode
    assert path.stat().st_mode & 0o777 == 0o640
    open_folder.chmod(0o755)
    assert _as_user(NOBODY, "mv secret other || rm -f secret || touch new || mkdir new", open_folder).returncode


def test_files_belong_to_who_makes_them(open_folder: Path) -> None:
    """Owner and group are the maker's; the umask counts."""
    assert _as_user(NOBODY, "umask 027; touch file; mkdir dir; mkfifo pipe; ln -s x link", open_folder).returncode == 0
    for name, mode in (("file", 0o640), ("dir", 0o750), ("pipe", 0o640), ("link", 0o777)):
        found = (open_folder / name).lstat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, mode)


def test_sticky(open_folder: Path) -> None:
    """In a sticky directory only the owners remove or rename."""
    open_folder.chmod(0o1777)
    _as_user(_SOMEBODY, "touch theirs", open_folder)
    refused = _as_user(NOBODY, "rm -f theirs", open_folder)
    assert refused.returncode
    assert "Operation not permitted" in refused.stderr
    assert _as_user(NOBODY, "mv theirs mine", open_folder).returncode
    assert _as_user(NOBODY, "touch own && mv -f own theirs", open_folder).returncode
    assert _as_user(_SOMEBODY, "mv theirs moved && rm moved", open_folder).returncode == 0


def test_setgid_is_inherited(open_folder: Path) -> None:
    """Below a setgid directory the group is the directory's, and directories are setgid too."""
    os.chown(open_folder, 0, 4242)
    open_folder.chmod(0o2777)
    assert _as_user(NOBODY, "touch file; mkdir -p dir/sub", open_folder).returncode == 0
    for name, is_setgid in (("file", False), ("dir", True), ("dir/sub", True)):
        found = (open_folder / name).stat()
        assert (found.st_gid, bool(found.st_mode & stat.S_ISGID)) == (4242, is_setgid)


def test_privileges_are_cleared(open_folder: Path) -> None:
    """Setuid and setgid go when somebody else writes, truncates or chowns; a stranger to the group sets no setgid."""
    path = open_folder / "program"
    for change in ("echo x >>program", "truncate -s 1 program", "chown 65534 program"):
        path.write_bytes(b"content")
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o6777)
        assert stat.S_IMODE(path.stat().st_mode) == 0o6777
        assert _as_user(NOBODY, change, open_folder).returncode == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o777, change
    path.chmod(0o6777)
    os.chown(path, _SOMEBODY, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    os.chown(path, NOBODY, 4242)
    _as_user(NOBODY, "chmod 2755 program", open_folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755, "a stranger to the group sets no setgid"


def test_acls(open_folder: Path) -> None:
    """An ACL lets in who is named, the mask limits it, and a default ACL is inherited."""
    path = open_folder / "file"
    path.write_bytes(b"text\n")
    path.chmod(0o600)
    assert _as_user(NOBODY, "cat file", open_folder).returncode
    run("setfacl", "-m", f"u:{NOBODY}:r", path)
    assert _as_user(NOBODY, "cat file", open_folder).stdout == "text\n"
    assert _as_user(NOBODY, "echo x >file", open_folder).returncode
    run("setfacl", "-m", "m::-", path)
    assert _as_user(NOBODY, "cat file", open_folder).returncode
    path.chmod(0o640)
    assert _as_user(NOBODY, "cat file", open_folder).stdout == "text\n", "chmod sets the mask"
    run("setfacl", "-b", path)
    assert not [name for name in os.listxattr(path) if "acl" in name]
    run("setfacl", "-d", "-m", f"u:{NOBODY}:rw,o::-", open_folder)
    run("sh", "-c", "umask 0; touch heir", cwd=open_folder)  # FUSE applies a umask even where a default ACL is
    assert _as_user(NOBODY, "echo x >>heir", open_folder).returncode == 0
    assert _as_user(_SOMEBODY, "cat heir", open_folder).returncode


def test_xattrs_of_each_kind(open_folder: Path) -> None:
    """user, trusted and security are kept; trusted is root's; sizes and flags hold."""
    path = open_folder / "file"
    path.touch(mode=0o666)
    path.chmod(0o666)
    for name in ("user.a", "trusted.b", "security.c"):
        os.setxattr(path, name, name.encode())
    assert sorted(os.listxattr(path)) == ["security.c", "trusted.b", "user.a"]
    assert "trusted" not in _as_user(NOBODY, "getfattr -m - file", open_folder).stdout
    assert _as_user(NOBODY, "setfattr -n trusted.x -v 1 file", open_folder).returncode
    assert _as_user(NOBODY, "setfattr -n user.x -v 1 file", open_folder).returncode == 0
    os.setxattr(path, "user.large", b"v" * 65_536)
    assert os.getxattr(path, "user.large") == b"v" * 65_536
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.a", b"", os.XATTR_CREATE)
    with pytest.raises(OSError, match="No data available"):
        os.setxattr(path, "user.none", b"", os.XATTR_REPLACE)
    os.removexattr(path, "user.a")
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(path, "user.a")
    with pytest.raises(OSError, match="not supported"):
        os.setxattr(path, "other.a", b"")


def test_capabilities_go_with_a_write(shared: Volume, open_folder: Path) -> None:
    """security.capability is kept by cp -a and dropped when the file is written to."""
    path = open_folder / "program"
    path.write_bytes(b"content")
    run("/usr/sbin/setcap", "cap_net_raw+ep", path)
    assert "cap_net_raw" in run("/usr/sbin/getcap", path).stdout
    with path.open("ab") as file:
        file.write(b"more")
    assert not run("/usr/sbin/getcap", path).stdout
