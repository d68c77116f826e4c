"""Unfinished work on disk, from which the next run of an interrupted stage resumes.

It lies in folders that Snakemake does not know, since it would delete them with the failed job. The
name of such a folder is a hash of the result, settings, data, code and libraries, so that no job
with others resumes from it. When the result is finished, all its folders are removed.

Training keeps sealed checkpoints in the folder, scoring keeps arrays.
"""

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.lineage.fingerprint import code_version, content_hash
from gcrm.lineage.provenance import versions_now
from gcrm.utils.io import atomic_path, write_json
from gcrm.utils.paths import files_of

SEAL = "whole.json"
"""written last into a checkpoint: its files and their sizes"""
SECONDS = 60.0
"""time between two files of arrays: so much work an interruption costs"""

Arrays = Mapping[str, NDArray[Any]]


class Unfinished:
    """Unfinished work on a result, begun with just these settings and data.

    Args:
        result: the file or folder that is to be made.
        settings: that the result depends on, as JSON values.
        sources: models and data; files count by their content.
        others: what else the last digits of the result depend on, such as threads.
        parent: where the folder lies (default: <result>.parts).

    Attributes:
        folder: where the work is kept; its name is a hash of all of the above.
    """

    def __init__(
        self,
        result: Path,
        stage: str,
        settings: Mapping[str, Any],
        sources: Iterable[Path | str],
        *others: Any,
        parent: Path | None = None,
    ) -> None:
        self._result = result
        self._parent = parent or result.with_name(f"{result.name}.parts")
        files = [file for source in sources for file in files_of(str(source)) if file.is_file()]
        facts = [settings, content_hash(files), code_version(f"gcrm.{stage}"), versions_now()]
        begun = json.dumps([*facts, others], sort_keys=True, default=str)
        self.folder = self._parent / (self._owner + hashlib.sha256(begun.encode()).hexdigest()[:16])
        self._written = time.monotonic()

    @property
    def _owner(self) -> str:
        """A hash of the relative path, so that folder and result can be moved together."""
        relative = os.path.relpath(self._result, self._parent)
        return hashlib.sha256(relative.encode()).hexdigest()[:8] + "-"

    @property
    def is_due(self) -> bool:
        """Whether the last arrays were written long enough ago for the next."""
        return time.monotonic() - self._written >= SECONDS

    def write(self, name: str, arrays: Arrays) -> None:
        """Write arrays to a file of this name, in place of an earlier one.

        Raises:
            UserError: there is no room for it.
        """
        contents: Any = dict(arrays)
        with atomic_path(self.folder / f"{name}.npz") as path:
            np.savez(path, **contents)
        self._written = time.monotonic()

    def read(self, pattern: str) -> Iterator[Arrays]:
        """The arrays of each file whose name matches; damaged files are left out."""
        for file in sorted(self.folder.glob(f"{pattern}.npz")):
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    found = dict(arrays)
            except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile):
                continue
            yield found

    def discard(self) -> None:
        """Remove all unfinished work on the result, whatever it was begun with.

        Work on other results in the same place stays.
        """
        for folder in self._parent.glob(f"{self._owner}*"):
            shutil.rmtree(folder, ignore_errors=True)
        if self._parent.is_dir() and not any(self._parent.iterdir()):
            self._parent.rmdir()


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
