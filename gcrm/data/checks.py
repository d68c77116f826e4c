"""Checks of the data that a run brings, before any job: files exist, and rows are whole.

Everything is read once. Files that were found good are remembered by size and time of change, so
that the next start is quick.
"""

import json
from collections.abc import Callable, Iterator
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
    """Refuse missing files and broken rows of preference data and completions.

    Downloads are left to `prepare`.

    Args:
        where: the config file, for messages.
        memory: JSON file that remembers which files were found good.

    Raises:
        UserError: a file is missing, a row is broken, or a benchmark has no completions.
    """
    for name in config.variants:
        if (file := zero_file(config.variant(name))) is not None:
            read_zero_config(file)
    for key, source in _brought(config):
        if is_local(source) and not Path(source).exists():
            raise UserError(f"{where}: {key}: {source}: no such file or folder")
        if key == "completions" and not Path(source).is_dir():
            raise UserError(f"{where}: completions: {source}: no such folder")
    known = _remembered(memory)
    good: dict[str, list[list[object]]] = {}
    for what, files, read in _readings(config):
        state: list[list[object]] = [
            [str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files
        ]
        if known.get(what) != state:
            read()
        good[what] = state
    if good != known:
        write_json(memory, good)


def _brought(config: Config) -> Iterator[tuple[str, str]]:
    """Key and source of all data that are not downloads."""
    sources = [("base_model", config.base_model), ("completions", config.completions)]
    sources += [("preferences", source) for source in config.preferences or []]
    sources += [(f"heldout.{name}", source) for name, source in config.heldout.items()]
    for key, source in sources:
        if source is not None and download_name(source) is None:
            yield key, source


def _readings(config: Config) -> Iterator[tuple[str, list[Path], Callable[[], object]]]:
    """What to read of the data that are here: name, files, and a function that reads them."""
    for key, source in _brought(config):
        files = files_of(source)
        if key == "preferences" and files:
            yield f"preferences {source}", files, partial(load_preferences, [source])
            if attributes := config.represent.attributes:
                what = f"attributes {', '.join(attributes)} of {source}"
                yield what, files, partial(select, [source], attributes)
        elif key.startswith("heldout.") and files:
            yield f"heldout {source}", files, partial(load_preferences, [source], heldout=True)
        elif key == "completions":
            for benchmark in config.benchmarks:
                for split in config.splits(benchmark):
                    yield (
                        f"completions {source} {benchmark} {split}",
                        config.completion_files(benchmark, split),
                        partial(read_completions, Path(source), benchmark, split),
                    )


def _remembered(memory: Path) -> dict[str, list[list[object]]]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
