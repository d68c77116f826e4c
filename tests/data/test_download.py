"""Fetching over a real HTTP server on this machine, and unpacking: whole, resumed, clear errors."""

import hashlib
import shutil
import socket
import stat
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.config.download import RemoteFile
from gcrm.data import download as downloads
from gcrm.data.download import (
    archive_files,
    check_room,
    fetch,
    local_name,
    open_archive,
    unpack,
)
from gcrm.utils.errors import UserError
from helpers.originals import zipped
from helpers.web import Site, serve

CONTENT = bytes(range(256)) * 10_000  # 2.56 MB: more than one chunk
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0))
    with serve({"data/big.bin": CONTENT}) as found:
        yield found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(file: RemoteFile, folder: Path) -> str:
    with pytest.raises(UserError) as error:
        fetch(file, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_arrives_whole_and_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    file = site.file("data/big.bin", size=len(CONTENT), sha256=SHA256)
    path = fetch(file, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [path.name]
    assert fetch(file, path.parent) == path
    assert len(site.asked) == 1


def test_an_interrupted_transfer_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cut = [700_000, 1_500_000]
    path = fetch(site.file("data/big.bin", sha256=SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in site.asked] == [None, "bytes=700000-", "bytes=2200000-"]


def test_another_run_goes_on_where_the_first_one_stopped(site: Site, tmp_path: Path) -> None:
    site.cut = [700_000, 0, 0]
    error = refused(site.file("data/big.bin"), tmp_path)
    assert "0.7 MB of 2.6 MB" in error or "700.0 kB" in error
    assert "run again to go on from there" in error
    path = fetch(site.file("data/big.bin"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert site.asked[-1][1] == "bytes=700000-"
    assert names(tmp_path) == [path.name]


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.cut = [700_000, 0, 0]
    refused(site.file("data/big.bin"), tmp_path)
    site.files["data/big.bin"] = CONTENT[::-1]
    assert fetch(site.file("data/big.bin"), tmp_path).read_bytes() == CONTENT[::-1]


def test_a_file_that_became_shorter_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.cut = [700_000, 0, 0]
    refused(site.file("data/big.bin"), tmp_path)
    site.statuses = [416]
    site.files["data/big.bin"] = b"short"
    assert fetch(site.file("data/big.bin"), tmp_path).read_bytes() == b"short"


@pytest.mark.parametrize("lacks", ["ranges", "with_etag", "with_length"])
def test_a_simpler_server_is_enough(site: Site, tmp_path: Path, lacks: str) -> None:
    setattr(site, lacks, False)
    # Without a length nobody can tell that the end is missing: size or hash must.
    site.cut = [] if lacks == "with_length" else [700_000]
    path = fetch(site.file("data/big.bin", sha256=SHA256), tmp_path)
    assert path.read_bytes() == CONTENT


def test_an_end_that_is_missing_is_found_by_the_size(site: Site, tmp_path: Path) -> None:
    site.with_length = False
    site.cut = [700_000]
    error = refused(site.file("data/big.bin", size=len(CONTENT)), tmp_path)
    assert f"has 700000 bytes, not the {len(CONTENT)}" in error
    assert names(tmp_path) == []


def test_a_wrong_hash_is_refused_and_nothing_is_left(site: Site, tmp_path: Path) -> None:
    error = refused(site.file("data/big.bin", sha256="0" * 64), tmp_path)
    assert f"has SHA-256 {SHA256}, not the {'0' * 64}" in error
    assert site.url("data/big.bin") in error
    assert names(tmp_path) == []


def test_a_wrong_size_is_refused_before_anything_is_fetched(site: Site, tmp_path: Path) -> None:
    error = refused(site.file("data/big.bin", size=5), tmp_path)
    assert f"has {len(CONTENT)} bytes, not the 5 that the config expects" in error
    assert names(tmp_path) == []


def test_a_file_put_there_by_hand_is_taken_if_it_is_the_right_one(
    site: Site, tmp_path: Path
) -> None:
    file = site.file("data/big.bin", sha256=SHA256)
    (tmp_path / local_name(file.url)).write_bytes(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.asked == []
    (tmp_path / local_name(file.url)).write_bytes(b"other")
    assert "delete it to fetch it again" in refused(file, tmp_path)


def test_a_missing_file_is_named_with_what_to_do(site: Site, tmp_path: Path) -> None:
    file = site.file("data/none.zip")
    error = refused(file, tmp_path)
    assert error.startswith(f"{file.url}: HTTP 404 Not Found; correct the url in the config")
    assert f"put it at {tmp_path / local_name(file.url)}" in error
    assert len(site.asked) == 1


def test_a_server_that_is_busy_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert fetch(site.file("data/big.bin"), tmp_path).read_bytes() == CONTENT
    site.statuses = [503, 503, 503]
    site.files["other"] = b"x"
    assert "HTTP 503" in refused(site.file("other"), tmp_path)


def test_no_network_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/pairs.zip"
    error = refused(RemoteFile(url=url), tmp_path)
    assert error.startswith(f"{url}: cannot be reached (")
    assert "run again with a network; or fetch it elsewhere and put it at" in error


def test_a_name_that_is_unknown_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")

    def no_dns(*_: object, **__: object) -> Any:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    error = refused(RemoteFile(url="https://example.org/pairs.zip"), tmp_path)
    assert "cannot be reached" in error
    assert "name resolution" in error


def test_a_disk_without_room_is_told_before_the_transfer(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    error = refused(site.file("data/big.bin"), tmp_path)
    assert "needs 2.6 MB" in error
    assert "1.0 MB are free" in error
    assert names(tmp_path) == []
    check_room(tmp_path, 1_000_000, "this")


def test_a_part_of_unknown_length_is_whole_at_the_length_first_told(
    site: Site, tmp_path: Path
) -> None:
    site.cut = [700_000]
    site.in_parts = 1_000_000
    path = fetch(site.file("data/big.bin"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in site.asked] == [None, "bytes=700000-", "bytes=1700000-"]


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("Llama-3.1-8B-Instruct-pairs.jsonl", ".1-8B-Instruct-pairs-????????.jsonl"),
        ("gsm8k-v1.2.3-something-long.jsonl.gz", ".2.3-something-long-????????.jsonl.gz"),
        ("a.zip", "a-????????.zip"),
    ],
)
def test_a_name_may_have_dots_of_its_own(name: str, ends: str) -> None:
    assert fnmatch(local_name(f"https://h.org/{name}"), f"*{ends}")


def test_files_of_one_name_stay_apart_and_keep_their_suffix() -> None:
    first, second = (
        local_name(f"https://h.org/{folder}/train.jsonl.gz?download=true") for folder in "ab"
    )
    assert first != second
    assert first.startswith("train-") and first.endswith(".jsonl.gz")


@given(st.text(max_size=60))
def test_no_address_leaves_the_folder(path: str) -> None:
    name = local_name(f"https://h.org/{path}")
    assert Path(name).name == name
    assert not name.startswith(".") and len(name) < 120
    assert set("/\\\0\n") & set(name) == set()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h.org/x", "https://h.org/", "x", "https://me:key@h.org/x"]
)
def test_only_files_of_the_web_have_an_address(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        RemoteFile(url=url)


# --- archives ---------------------------------------------------------------------------------


def archive_of(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(zipped(files))
    return path


def test_only_the_wanted_folder_is_unpacked(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "a.zip", {"x/a/1": b"one", "x/b/2": b"two", "xx/3": b"", "x/": b""}
    )
    with open_archive(path) as archive:
        found = archive_files(archive, "x")
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
    path = archive_of(tmp_path / "a.zip", {name: b"evil", "x/good": b"good"})
    with pytest.raises(UserError, match="outside of its folder"), open_archive(path) as archive:
        archive_files(archive, folder)


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("x/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="outside of its folder"), open_archive(path) as archive:
        archive_files(archive, "x")


def test_a_folder_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"top/codellama-7b/gsm8k/f": b""})
    told = "'other'; there are top/codellama-7b/gsm8k"
    with pytest.raises(UserError, match=told), open_archive(path) as archive:
        archive_files(archive, "other")


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_archive_is_told_by_its_beginning(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(UserError) as error, open_archive(path):
        pass
    assert "is no .zip archive that can be read" in str(error.value)
    assert repr(content[:20]) in str(error.value)


def test_a_damaged_member_is_one_line(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"x": b"0123456789" * 100})
    content = bytearray(path.read_bytes())
    content[35] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="archive that can be read"), open_archive(path) as archive:
        unpack(archive, archive_files(archive), tmp_path / "to")


def test_an_archive_that_is_too_large_for_the_disk_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive_of(tmp_path / "a.zip", {"x": b"0" * 5_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(UserError, match=r"needs 5\.0 MB"), open_archive(path) as archive:
        unpack(archive, archive_files(archive), tmp_path / "to")


def test_an_archive_with_a_password_is_one_line(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"x": b"0123456789"})
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1  # says that the member is encrypted
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"can be read .*password"), open_archive(path) as archive:
        unpack(archive, archive_files(archive), tmp_path / "to")


def test_a_damaged_lzma_member_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", bytes(range(256)) * 20)
    content = bytearray(path.read_bytes())
    content[45:60] = b"\xff" * 15
    path.write_bytes(content)
    with pytest.raises(UserError, match="archive that can be read"), open_archive(path) as archive:
        unpack(archive, archive_files(archive), tmp_path / "to")
