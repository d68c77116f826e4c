"""Unpacking: only what is wanted, and never outside of the folder."""

import stat
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from gcrm.data.archives import members, opened, unpack
from gcrm.utils.errors import UserError
from helpers.originals import zipped


def write(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(zipped(files))
    return path


def test_only_the_wanted_folder_is_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x/a/1": b"one", "x/b/2": b"two", "xx/3": b"", "x/": b""})
    with opened(path) as archive:
        found = members(archive, "x")
        assert list(found) == [PurePosixPath("a/1"), PurePosixPath("b/2")]
        wanted = {path: info for path, info in found.items() if path.name == "2"}
        assert unpack(archive, wanted, tmp_path / "to") == [tmp_path / "to/b/2"]
    assert (tmp_path / "to/b/2").read_bytes() == b"two"
    assert not (tmp_path / "to/a").exists()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("../evil", ""),
        ("x/../../evil", "x"),
        ("x/a/../../../evil", "x"),
        ("/evil", ""),
        ("//evil", ""),
    ],
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str, folder: str) -> None:
    path = write(tmp_path / "a.zip", {name: b"evil", "x/good": b"good"})
    with pytest.raises(UserError, match="outside of its folder"), opened(path) as archive:
        members(archive, folder)


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("x/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="outside of its folder"), opened(path) as archive:
        members(archive, "x")


def test_a_folder_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"top/codellama-7b/gsm8k/f": b""})
    told = "'other'; there are top/codellama-7b/gsm8k"
    with pytest.raises(UserError, match=told), opened(path) as archive:
        members(archive, "other")


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_archive_is_told_by_its_beginning(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(UserError) as error, opened(path):
        pass
    assert "is no .zip archive that can be read" in str(error.value)
    assert repr(content[:20]) in str(error.value)


def test_a_damaged_member_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"0123456789" * 100})
    content = bytearray(path.read_bytes())
    content[35] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="archive that can be read"), opened(path) as archive:
        unpack(archive, members(archive), tmp_path / "to")


def test_a_disk_without_room_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.zip", {"x": b"0" * 5_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(UserError, match=r"needs 5\.0 MB"), opened(path) as archive:
        unpack(archive, members(archive), tmp_path / "to")


def test_an_archive_with_a_password_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"x": b"0123456789"})
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1  # says that the member is encrypted
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"can be read .*password"), opened(path) as archive:
        unpack(archive, members(archive), tmp_path / "to")


def test_a_damaged_lzma_member_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", bytes(range(256)) * 20)
    content = bytearray(path.read_bytes())
    content[45:60] = b"\xff" * 15
    path.write_bytes(content)
    with pytest.raises(UserError, match="archive that can be read"), opened(path) as archive:
        unpack(archive, members(archive), tmp_path / "to")
