"""Rows and JSON are read or refused in one line; files are written whole."""

import bz2
import gzip
import json
import lzma
import os
import re
import stat
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.utils.errors import UserError
from gcrm.utils.io import (
    atomic_folder,
    atomic_path,
    numbered_rows,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=3)
rows = st.lists(st.dictionaries(st.text(), values, max_size=4), min_size=1, max_size=5)


@given(rows=rows)
def test_rows_survive(tmp_path_factory, rows):
    """Any text does, with line ends of every kind, NUL and emoji in it."""
    path = tmp_path_factory.mktemp("files") / "rows.jsonl"
    write_jsonl(path, rows)
    assert read_jsonl(path) == rows
    assert path.read_bytes().count(b"\n") == len(rows)


def test_lines_are_numbered_as_in_an_editor(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n   \n{"a": "x\\ry\xe2\x80\xa8z"}')
    assert list(numbered_rows(path)) == [(1, {"a": 1}), (4, {"a": "x\ry\u2028z"})]
    assert read_jsonl(path) == [{"a": 1}, {"a": "x\ry\u2028z"}]


def test_a_row_without_its_text_is_named_by_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "x"}\n\n{"a": " "}\n')
    with pytest.raises(UserError, match=r"rows.jsonl, row 3: a must be text"):
        read_jsonl(path, texts=["a"])
    assert read_jsonl(path) == [{"a": "x"}, {"a": " "}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "has no rows"),
        (b"\n \n", "has no rows"),
        (b"\xef\xbb\xbf\n", "has no rows"),
        (gzip.compress(b'{"a": 1}\n', mtime=0), "gzip-compressed; unpack it first"),
        (bz2.compress(b'{"a": 1}\n'), "bzip2-compressed"),
        (lzma.compress(b'{"a": 1}\n'), "xz-compressed"),
        (b"PK\x03\x04\x14\x00\x00", "zip-compressed"),
        (b"\x28\xb5\x2f\xfd\x24\x09", "zstd-compressed"),
        (b"PAR1\x15\x04\x15\x00", "line 1: not UTF-8"),
        (b'{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        (b'\n{"a": 1}\n\n{"a": "x', "line 4: not valid JSON"),
        (b"[1]\n", "line 1: expected one object a line, not a list"),
        (b'[\n{"a": 1}\n]\n', "line 1: expected one object a line, not a list"),
        (b'{"a": "\xe9"}\n', "line 1: not UTF-8"),
        ('{"a": 1}\n'.encode("utf-16"), "line 1: not UTF-8"),
        ('{"a": 1}\n'.encode("utf-16-le"), "line 1: not UTF-8"),
        (b'{"a": "\\ud83d"}\n', r"line 1: not valid JSON \(.* character '\\ud83d'"),
        (b'{"\\uDE00": 1}\n', "surrogates not allowed"),
        (b'{"a": {"b": 1, "b": 2}}\n', "line 1: not valid JSON \\(the key 'b' is given twice"),
        (b'{"a": ' + b"9" * 5000 + b"}\n", "line 1: not valid JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1: not valid JSON"),
    ],
)
def test_broken_rows_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_jsonl(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_whole_pairs_are_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "\\ud83d\\ude00"}\n')
    assert read_jsonl(path) == [{"a": "😀"}]


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_rows_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("files") / "rows.jsonl"
    path.write_bytes(content)
    try:
        rows = read_jsonl(path)
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert rows and all(isinstance(row, dict) for row in rows)


@given(rows=rows, data=st.data())
def test_a_file_cut_anywhere_is_refused_or_its_first_rows(tmp_path_factory, rows, data):
    """As a broken-off download or a full disk leaves it."""
    path = tmp_path_factory.mktemp("files") / "rows.jsonl"
    write_jsonl(path, rows)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        found = read_jsonl(path)
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert found == rows[: len(found)]


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1.5, "é": None})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"a": 1.5, "é": None}
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["a"] == 1.5


def test_files_and_folders_appear_whole(tmp_path):
    for text in ("first", "second"):
        with atomic_path(tmp_path / "new" / "plot.png") as file:
            assert file.name == "plot.png"  # numpy and matplotlib read the suffix
            file.write_text(text)
        with atomic_folder(tmp_path / "new", last="a") as folder:
            (folder / "a").write_text(text)
    for writer in (atomic_path(tmp_path / "new" / "a"), atomic_folder(tmp_path / "new", "a")):
        with pytest.raises(KeyboardInterrupt), writer as new:
            (new / "a" if new.is_dir() else new).write_text("half")
            raise KeyboardInterrupt
    found = {file.name: file.read_text() for file in (tmp_path / "new").iterdir()}
    assert found == {"a": "second", "plot.png": "second"}


def test_a_folder_is_never_taken_for_whole_with_old_files_beside_new_ones(tmp_path, monkeypatch):
    """Killed at each of its steps in turn, as a process is that does nothing more after it."""
    real = {name: getattr(os, name) for name in ("replace", "unlink")}

    class Killed(BaseException):
        pass

    for survived in range(5):
        folder = tmp_path / str(survived)
        folder.mkdir()
        for name in ("facts", "last", "weights"):
            (folder / name).write_text("old")
        left = iter(range(survived))

        def step(name, left=left):
            def do(*args, **options):
                if next(left, None) is None:
                    raise Killed
                return real[name](*args, **options)

            return do

        with suppress(Killed), atomic_folder(folder, last="last") as new:
            for name in ("facts", "last", "weights"):
                (new / name).write_text("new")
            for name in real:
                monkeypatch.setattr(os, name, step(name))
        monkeypatch.undo()
        found = {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}
        assert "last" not in found or len(set(found.values())) == 1, survived
        assert (found.get("last") == "new") == (survived == 4)


@pytest.mark.parametrize("at", ["pipe", "link"])
def test_what_is_no_regular_file_stays(tmp_path, at):
    """As root, renaming over /dev/null removes it from the machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(UserError, match=r"pipe: is not a regular file; give another path"):
        write_json(tmp_path / at, {})
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("old", "new"):
        (tmp_path / f"{name}.json").symlink_to(f"elsewhere/{name}.json")
    (tmp_path / "elsewhere" / "old.json").write_text("{}")
    for name in ("old", "new"):
        write_json(tmp_path / f"{name}.json", {"a": 1})
        assert (tmp_path / f"{name}.json").is_symlink()
        assert json.loads((tmp_path / "elsewhere" / f"{name}.json").read_text()) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "expected a JSON object; `metrics` makes it anew"),
        ("{", "not valid JSON (Expecting property name"),
        ("[" * 100_000, "not valid JSON (maximum recursion"),
        ("\xff", "not valid JSON ("),
        (None, "no such file; `metrics` makes it"),
    ],
)
def test_broken_results_name_the_stage_that_makes_them(tmp_path, content, problem):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=re.escape(f"{path}: {problem}")):
        read_json(path, "metrics")


def test_folders_are_no_files(tmp_path):
    for read in (read_jsonl, lambda path: read_json(path, "metrics")):
        with pytest.raises(UserError, match="cannot be read: Is a directory"):
            read(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, kind):
    """But not the files of a living one, or of another result."""
    home = tmp_path / "[1] home"
    path = home / "scores.v1.json" if kind == "file" else home

    def writer():
        return atomic_path(path) if kind == "file" else atomic_folder(path, last="a")

    def unfinished():
        return {one.name for one in home.iterdir() if one.name.endswith(".partial")}

    script = (
        "import os, sys; from pathlib import Path; from gcrm.utils.io import *\n"
        "new = atomic_folder(Path(sys.argv[2]), last='a') if sys.argv[1] == 'folder' else "
        "atomic_path(Path(sys.argv[2]))\n"
        "new.__enter__(); os._exit(9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, kind, str(path)], check=False)
    assert killed.returncode == 9
    left = unfinished()
    assert len(left) == 1
    with atomic_path(home / "scores.v2.json") as other, writer() as first, writer() as second:
        assert not left & unfinished() and len(unfinished()) == 3
        for text, new in (("first", first), ("second", second)):
            (new / "a" if kind == "folder" else new).write_text(text)
        other.write_text("other")
    assert (path / "a" if kind == "folder" else path).read_text() == "first"
    assert not unfinished()
