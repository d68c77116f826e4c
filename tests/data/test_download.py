"""Downloads from a local HTTP server: complete, resumed, clear errors; unpacking of archives."""

import hashlib
import shutil
import socket
import stat
import zipfile
from collections.abc import Callable, Iterator
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


def test_file_is_downloaded_once(site: Site, tmp_path: Path) -> None:
    file = site.file("data/big.bin", size=len(CONTENT), sha256=SHA256)
    path = fetch(file, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [path.name]
    assert fetch(file, path.parent) == path
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("cut", "in_parts", "asked"),
    [
        ([700_000, 1_500_000], 0, [None, "bytes=700000-", "bytes=2200000-"]),
        # Ranges of unknown length: complete at the length of the first response.
        ([700_000], 1_000_000, [None, "bytes=700000-", "bytes=1700000-"]),
    ],
)
def test_interrupted_transfer_resumes(
    site: Site, tmp_path: Path, cut: list[int], in_parts: int, asked: list[str | None]
) -> None:
    site.cut, site.in_parts = cut, in_parts
    path = fetch(site.file("data/big.bin", sha256=SHA256), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [range_ for _, range_ in site.asked] == asked


def test_next_run_resumes(site: Site, tmp_path: Path) -> None:
    site.cut = [700_000, 0, 0]
    error = refused(site.file("data/big.bin"), tmp_path)
    assert "0.7 MB of 2.6 MB" in error or "700.0 kB" in error
    assert "run again to resume" in error
    path = fetch(site.file("data/big.bin"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert site.asked[-1][1] == "bytes=700000-"
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize(("content", "statuses"), [(CONTENT[::-1], []), (b"short", [416])])
def test_changed_file_is_downloaded_from_the_beginning(
    site: Site, tmp_path: Path, content: bytes, statuses: list[int]
) -> None:
    site.cut = [700_000, 0, 0]
    refused(site.file("data/big.bin"), tmp_path)
    site.statuses, site.files["data/big.bin"] = statuses, content
    assert fetch(site.file("data/big.bin"), tmp_path).read_bytes() == content


@pytest.mark.parametrize("lacks", ["ranges", "with_etag", "with_length"])
def test_simpler_servers_are_supported(site: Site, tmp_path: Path, lacks: str) -> None:
    setattr(site, lacks, False)
    # Without a length, only size or hash can show that the end is missing.
    site.cut = [] if lacks == "with_length" else [700_000]
    path = fetch(site.file("data/big.bin", sha256=SHA256), tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("expected", "with_length", "message"),
    [
        ({"size": len(CONTENT)}, False, f"has 700000 bytes, not the {len(CONTENT)}"),
        ({"sha256": "0" * 64}, True, f"has SHA-256 {SHA256}, not the {'0' * 64}"),
        ({"size": 5}, True, f"has {len(CONTENT)} bytes, not the 5 that the config expects"),
    ],
)
def test_wrong_size_or_hash_is_refused_and_removed(
    site: Site, tmp_path: Path, expected: dict[str, Any], with_length: bool, message: str
) -> None:
    site.with_length, site.cut = with_length, [] if with_length else [700_000]
    error = refused(site.file("data/big.bin", **expected), tmp_path)
    assert message in error and site.url("data/big.bin") in error
    assert names(tmp_path) == []


def test_file_placed_by_hand_is_checked_and_used(site: Site, tmp_path: Path) -> None:
    file = site.file("data/big.bin", sha256=SHA256)
    (tmp_path / local_name(file.url)).write_bytes(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert site.asked == []
    (tmp_path / local_name(file.url)).write_bytes(b"other")
    assert "delete it to fetch it again" in refused(file, tmp_path)


def test_missing_file_is_reported_with_advice(site: Site, tmp_path: Path) -> None:
    file = site.file("data/none.zip")
    error = refused(file, tmp_path)
    assert error.startswith(f"{file.url}: HTTP 404 Not Found; correct the url in the config")
    assert f"put it at {tmp_path / local_name(file.url)}" in error
    assert len(site.asked) == 1


def test_busy_server_is_retried(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert fetch(site.file("data/big.bin"), tmp_path).read_bytes() == CONTENT
    site.statuses = [503, 503, 503]
    site.files["other"] = b"x"
    assert "HTTP 503" in refused(site.file("other"), tmp_path)


def test_missing_network_is_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/pairs.zip"
    error = refused(RemoteFile(url=url), tmp_path)
    assert error.startswith(f"{url}: cannot be reached (")
    assert "run again with a network; or download it elsewhere and put it at" in error


def test_unknown_host_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")

    def no_dns(*_: object, **__: object) -> Any:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    error = refused(RemoteFile(url="https://example.org/pairs.zip"), tmp_path)
    assert "cannot be reached" in error
    assert "name resolution" in error


def test_full_disk_is_reported_before_the_transfer(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    error = refused(site.file("data/big.bin"), tmp_path)
    assert "needs 2.6 MB" in error
    assert "1.0 MB are free" in error
    assert names(tmp_path) == []
    check_room(tmp_path, 1_000_000, "this")


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("Llama-3.1-8B-Instruct-pairs.jsonl", ".1-8B-Instruct-pairs-????????.jsonl"),
        ("gsm8k-v1.2.3-something-long.jsonl.gz", ".2.3-something-long-????????.jsonl.gz"),
        ("a.zip", "a-????????.zip"),
    ],
)
def test_local_name_has_a_hash_before_the_suffix(name: str, ends: str) -> None:
    first, second = (local_name(f"https://h.org/{folder}/{name}?download=true") for folder in "ab")
    assert first != second
    assert fnmatch(first, f"*{ends}") and fnmatch(second, f"*{ends}")


@given(st.text(max_size=60))
def test_local_name_is_inside_the_folder(path: str) -> None:
    name = local_name(f"https://h.org/{path}")
    assert Path(name).name == name
    assert not name.startswith(".") and len(name) < 120
    assert set("/\\\0\n") & set(name) == set()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h.org/x", "https://h.org/", "x", "https://me:key@h.org/x"]
)
def test_only_http_urls_of_files_are_accepted(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        RemoteFile(url=url)


# --- archives ---------------------------------------------------------------------------------


def archive_of(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "a.zip"
    path.write_bytes(zipped(files))
    return path


def test_only_selected_files_are_unpacked(tmp_path: Path) -> None:
    path = archive_of(tmp_path, {"x/a/1": b"one", "x/b/2": b"two", "xx/3": b"", "x/": b""})
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
def test_names_outside_the_folder_are_refused(tmp_path: Path, name: str, folder: str) -> None:
    path = archive_of(tmp_path, {name: b"evil", "x/good": b"good"})
    with pytest.raises(UserError, match="outside the target"), open_archive(path) as archive:
        archive_files(archive, folder)


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("x/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="outside the target"), open_archive(path) as archive:
        archive_files(archive, "x")


def test_missing_folder_is_reported_with_those_found(tmp_path: Path) -> None:
    path = archive_of(tmp_path, {"top/codellama-7b/gsm8k/f": b""})
    message = r"'other' \(there are: top/codellama-7b/gsm8k\)"
    with pytest.raises(UserError, match=message), open_archive(path) as archive:
        archive_files(archive, "other")


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_other_files_are_reported_with_their_first_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(UserError) as error, open_archive(path):
        pass
    assert "not a readable .zip archive" in str(error.value)
    assert repr(content[:20]) in str(error.value)


def damaged(content: bytearray) -> None:
    content[35] ^= 0xFF


def lzma_damaged(content: bytearray) -> None:
    content[45:60] = b"\xff" * 15


def encrypted(content: bytearray) -> None:
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1


@pytest.mark.parametrize(
    ("change", "compression", "reason"),
    [
        (damaged, zipfile.ZIP_DEFLATED, ""),
        (lzma_damaged, zipfile.ZIP_LZMA, ""),
        (encrypted, zipfile.ZIP_DEFLATED, ".*password"),
    ],
)
def test_damaged_and_encrypted_members_are_reported(
    tmp_path: Path, change: Callable[[bytearray], None], compression: int, reason: str
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x", bytes(range(256)) * 20)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    message = f"not a readable .zip archive {reason}"
    with pytest.raises(UserError, match=message), open_archive(path) as archive:
        unpack(archive, archive_files(archive), tmp_path / "to")


def test_archive_too_large_for_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive_of(tmp_path, {"x": b"0" * 5_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(UserError, match=r"needs 5\.0 MB"), open_archive(path) as archive:
        unpack(archive, archive_files(archive), tmp_path / "to")
