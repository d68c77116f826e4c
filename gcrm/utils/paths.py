"""Paths and names that users give: a file or folder of this machine, or a hub id."""

from pathlib import Path

LOCAL_SUFFIXES = (".gguf", ".jsonl", ".json", ".parquet", ".safetensors")


def is_local(source: str) -> bool:
    """Whether `source` is a path; a hub id is `name` or `owner/name` and no existing file."""
    path = Path(source)
    return (
        path.exists()
        or path.suffix in LOCAL_SUFFIXES
        or source.startswith((".", "/", "~"))
        or source.count("/") > 1
    )


def files_of(source: str) -> list[Path]:
    """The file of a path, whether it exists or not, or all files of a folder; [] for a hub id.

    Snakemake compares files by content, but folders only by time. Hidden files are left out.
    """
    folder = Path(source)
    if not folder.is_dir():
        return [folder] if is_local(source) else []
    visible = (
        file for file in folder.rglob("*") if "/." not in f"/{file.relative_to(folder).as_posix()}"
    )
    return sorted(file for file in visible if file.is_file())


def set_name(source: str) -> str:
    """The name of a data set in paths: its file without suffix, or the end of its hub id."""
    path = Path(source)
    if path.name in ("", ".."):  # the folders `.` and `..` have names of their own
        path = path.resolve()
    return path.stem if path.suffix in LOCAL_SUFFIXES else path.name


def short_name(folder: str | Path) -> str:
    """The name of a model or goal state in messages: the end of its path, as `vanilla/seed0`."""
    return Path(*Path(folder).resolve().parts[-2:]).as_posix()
