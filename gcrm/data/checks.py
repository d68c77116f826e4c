"""Checks of what a run brings, before any job: files that exist, and rows that are whole.

The checks read everything once; which files were found to be good is remembered by their size and
time of change, so that the next start is quick.
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from gcrm.config.deepspeed import read_zero_config, zero_file
from gcrm.config.download import download_name
from gcrm.config.run import Config
from gcrm.data.attributes import select
from gcrm.data.completions import read_completions
from gcrm.data.preferences import load_preferences
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_json
from gcrm.utils.paths import files_of, is_local


def check_inputs(config: Config, where: str, memory: Path) -> None:
    """Read the preference data and completions that the config names, and refuse broken ones.

    Args:
        where: the config file, for messages.
        memory: JSON file that remembers what was found good.

    Raises:
        UserError: a file is missing, a row is broken, or a benchmark has no completions.
    """
    known = _remembered(memory)
    good: dict[str, list[list[object]]] = {}

    def check(what: str, files: Iterable[Path], read: Callable[[], object]) -> None:
        state = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        if known.get(what) != state:
            read()
        good[what] = state

    for name in config.variants:
        if (file := zero_file(config.variant(name))) is not None:
            read_zero_config(file)
    if config.base_model is not None:
        _check_exists(config.base_model, where, "base_model")
    for source in filter(_is_brought, config.preferences or []):
        _check_exists(source, where, "preferences")
        if files := files_of(source):
            check(f"preferences {source}", files, partial(load_preferences, [source]))
            if attributes := config.represent.attributes:
                what = f"attributes {', '.join(attributes)} of {source}"
                check(what, files, partial(select, [source], attributes))
    for name, source in config.heldout.items():
        if not _is_brought(source):
            continue
        _check_exists(source, where, f"heldout.{name}")
        if files := files_of(source):
            check(f"heldout {source}", files, partial(load_preferences, [source], heldout=True))
    if config.completions is not None and _is_brought(config.completions):
        folder = Path(config.completions)
        if not folder.is_dir():
            raise UserError(f"{where}: completions: {folder}: no such folder")
        for benchmark in config.benchmarks:
            for split in config.splits(benchmark):
                check(
                    f"completions {folder} {benchmark} {split}",
                    config.completion_files(benchmark, split),
                    partial(read_completions, folder, benchmark, split),
                )
    if good != known:
        write_json(memory, good)


def _is_brought(source: str) -> bool:
    """Whether it is there before the run; `prepare` checks what it downloads."""
    return download_name(source) is None


def _remembered(memory: Path) -> dict[str, list[list[object]]]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_exists(source: str, where: str, key: str) -> None:
    if is_local(source) and not Path(source).exists():
        raise UserError(f"{where}: {key}: {source}: no such file or folder")
