"""Paths and names that users give: a file or folder of this machine, or a hub id.

Data with several splits may name one: `folder:test_prefs`, `owner/name:split` or, for a hub id with
several subsets, `owner/name:subset:split`. What exists under its whole name is a path.
"""

import re
from pathlib import Path
from typing import NamedTuple

LOCAL_SUFFIXES = (".gguf", ".jsonl", ".json", ".parquet", ".safetensors")


SPLIT = re.compile(r"(.+?)(?::([\w.-]+))?:(\w+(?:\.\w+)*)")


class Parts(NamedTuple):
    """A source without its split: path or hub id, and subset and split where it names them."""

    home: str
    subset: str | None
    split: str | None


def source_parts(source: str) -> Parts:
    """Take a source apart."""
    path = Path(source)
    named = None if path.exists() or path.suffix in LOCAL_SUFFIXES else SPLIT.fullmatch(source)
    if named is None:
        return Parts(source, None, None)
    home, _, split = source.rpartition(":")
    return Parts(home, None, split) if Path(home).exists() else Parts(*named.groups())


def path_of(source: str | Path) -> Path:
    """The path of a source, without its split."""
    return source if isinstance(source, Path) else Path(source_parts(source).home)


def is_local(source: str) -> bool:
    """Whether `source` is a path; a hub id is `name` or `owner/name` and no existing file."""
    home = source_parts(source).home
    path = Path(home)
    return (
        path.exists()
        or path.suffix in LOCAL_SUFFIXES
        or home.startswith((".", "/", "~"))
        or home.count("/") > 1
    )


def files_of(source: str) -> list[Path]:
    """The file of a path, whether it exists or not, or all files of a folder; [] for a hub id.

    Snakemake compares files by content, but folders only by time. Hidden files are left out.
    """
    folder = path_of(source)
    if not folder.is_dir():
        return [folder] if is_local(source) else []
    visible = (
        file for file in folder.rglob("*") if "/." not in f"/{file.relative_to(folder).as_posix()}"
    )
    return sorted(file for file in visible if file.is_file())


def set_name(source: str) -> str:
    """The name of a data set in paths: its file without suffix, or the end of its hub id.

    Subset and split follow it: `ultrafeedback-test_prefs`.
    """
    home, *named = source_parts(source)
    path = Path(home)
    if path.name in ("", ".."):  # the folders `.` and `..` have names of their own
        path = path.resolve()
    name = path.stem if path.suffix in LOCAL_SUFFIXES else path.name
    return "-".join([name, *filter(None, named)])


def short_name(folder: str | Path) -> str:
    """The name of a model or goal state in messages: the end of its path, as `vanilla/seed0`."""
    return Path(*Path(folder).resolve().parts[-2:]).as_posix()
