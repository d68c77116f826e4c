"""Checks of a run's local input data before any job starts: files exist, and rows are valid.

Files that passed are recorded by size and modification time; the next start does not read them.
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
from gcrm.utils.paths import files_of, is_local, path_of


def check_inputs(config: Config, where: str, memory: Path) -> None:
    """Check the preference data and completions of a run; `prepare` checks downloads.

    Args:
        where: the config file, for messages.
        memory: JSON file that records the files that passed.

    Raises:
        UserError: a file is missing, a row is invalid, or a benchmark has no completions.
    """
    for name in config.variants:
        if (file := zero_file(config.variant(name))) is not None:
            read_zero_config(file)
    if config.chat_template is not None and not config.chat_template.is_file():
        raise UserError(f"{where}: chat_template: {config.chat_template}: no such file")
    for key, source in _given_sources(config):
        if is_local(source) and not path_of(source).exists():
            raise UserError(f"{where}: {key}: {source}: no such file or folder")
        if key == "completions" and not Path(source).is_dir():
            raise UserError(f"{where}: completions: {source}: no such folder")
    known = _read_memory(memory)
    passed: dict[str, list[list[object]]] = {}
    for what, files, read in _checks(config):
        state: list[list[object]] = [
            [str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files
        ]
        if known.get(what) != state:
            read()
        passed[what] = state
    if passed != known:
        write_json(memory, passed)


def _given_sources(config: Config) -> Iterator[tuple[str, str]]:
    """Key and source of all data that are not downloads."""
    sources = [("base_model", config.base_model), ("completions", config.completions)]
    sources += [("preferences", source) for source in config.preferences or []]
    sources += [(f"heldout.{name}", source) for name, source in config.heldout.items()]
    for key, source in sources:
        if source is not None and download_name(source) is None:
            yield key, source


def _checks(config: Config) -> Iterator[tuple[str, list[Path], Callable[[], object]]]:
    """The checks of local data: name, files, and a function that reads and checks them."""
    for key, source in _given_sources(config):
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


def _read_memory(memory: Path) -> dict[str, list[list[object]]]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
