"""Unfinished work on disk, from which the next run of an interrupted stage resumes.

It lies in folders that Snakemake does not know, since it would delete them with the failed job. The
name of such a folder is a hash of the result, settings, data, code and libraries, so that no job
with others resumes from it. When the result is finished, all its folders are removed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gcrm.lineage.fingerprint import code_version, content_hash
from gcrm.lineage.provenance import versions_now
from gcrm.utils.io import write_json
from gcrm.utils.paths import files_of

SEAL = "whole.json"
"""written last into a folder of unfinished work: its files and their sizes"""


def unfinished(
    parent: Path,
    result: Path,
    stage: str,
    settings: Mapping[str, Any],
    sources: Iterable[Path | str],
    *others: Any,
) -> Path:
    """The folder in `parent` for unfinished work on `result`, with just these settings and data.

    Args:
        settings: that the result depends on, as JSON values.
        sources: models and data; files count by their content.
        others: what else the last digits of the result depend on, such as threads.
    """
    files = [file for source in sources for file in files_of(str(source)) if file.is_file()]
    code = code_version(f"gcrm.{stage}")
    begun = json.dumps(
        [settings, content_hash(files), code, versions_now(), others], sort_keys=True, default=str
    )
    return parent / (_owner(parent, result) + hashlib.sha256(begun.encode()).hexdigest()[:16])


def parts_of(result: Path) -> Path:
    """The folder beside a result for unfinished work on it."""
    return result.with_name(f"{result.name}.parts")


def discard(parent: Path, result: Path) -> None:
    """Remove all unfinished work on `result`; that on other results in `parent` stays."""
    for folder in parent.glob(f"{_owner(parent, result)}*"):
        for checkpoint in folder.glob("*/"):
            remove(checkpoint)
        shutil.rmtree(folder, ignore_errors=True)
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()


def _owner(parent: Path, result: Path) -> str:
    """A hash of the relative path, so that folder and result can be moved together."""
    return hashlib.sha256(os.path.relpath(result, parent).encode()).hexdigest()[:8] + "-"


def seal(folder: Path) -> None:
    """Mark a folder as complete, once all of it is on the disk."""
    sizes = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as content:
            os.fsync(content.fileno())
        sizes[str(file.relative_to(folder))] = file.stat().st_size
    write_json(folder / SEAL, sizes)


def is_whole(folder: Path) -> bool:
    """Whether a folder was sealed, and all its files still have the same size."""
    try:
        sizes = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def remove(folder: Path) -> None:
    """Remove a sealed folder; its seal goes first, so that half a folder never counts."""
    (folder / SEAL).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
