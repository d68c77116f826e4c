"""What the user names: a file or folder of this machine, or a hub id."""

from pathlib import Path

LOCAL_SUFFIXES = (".gguf", ".jsonl", ".json", ".parquet", ".safetensors")


def is_local(source: str) -> bool:
    """Whether `source` is a path: a hub id is `name` or `owner/name`, and no file that exists."""
    path = Path(source)
    return (
        path.exists()
        or path.suffix in LOCAL_SUFFIXES
        or source.startswith((".", "/", "~"))
        or source.count("/") > 1
    )


def files_of(source: str) -> list[Path]:
    """The files behind a path, also one that does not exist yet; none behind a hub id.

    A folder counts by its files: Snakemake compares files by content, folders only by time.
    """
    path = Path(source)
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        return sorted(file for file in inside if not _is_hidden(file.relative_to(path)))
    return [path] if is_local(source) else []


def set_name(source: str) -> str:
    """What a data set is called in paths: its file without suffix, or the end of its hub id."""
    path = Path(source)
    if path.name in ("", ".."):  # `.` and `..` are folders with names of their own
        path = path.resolve()
    return path.stem if path.suffix in LOCAL_SUFFIXES else path.name


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
