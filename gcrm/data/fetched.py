"""What a run downloads: fetched, converted to where the other stages read it, and recorded."""

from pathlib import Path
from typing import Any

from gcrm.config.download import Download
from gcrm.config.prepare import PrepareOptions
from gcrm.data.conversions import write_completions, write_pairs
from gcrm.data.download import fetch, sha256_of
from gcrm.utils.logging import say


def fetch_data(options: PrepareOptions) -> dict[str, Any]:
    """Fetch and convert all of `options.downloads`.

    Returns:
        By name what was fetched: url, bytes and SHA-256 of each file, and how many pairs or
        problems of each benchmark came of it.

    Raises:
        UserError: a file cannot be had, or does not hold what its entry says.
    """
    facts: dict[str, Any] = {}
    for name, download in options.downloads.items():
        # The validator of the options has seen to it that the folders are there.
        assert options.download_dir is not None
        files = [fetch(file, options.download_dir) for file in download.files]
        facts[name] = {"files": _sources(download, files)}
        scratch = options.download_dir / f".{name}.unpacked"
        if download.format == "completions":
            assert options.completions_data_path is not None
            solutions = write_completions(
                files[0], download, options.benchmarks, options.completions_data_path, scratch
            )
            facts[name]["solutions"] = dict(solutions)
            say(f"prepare: {name}: completions of {len(solutions)} benchmarks")
        else:
            assert options.preferences_dir is not None
            output = options.preferences_dir / f"{name}.jsonl"
            facts[name]["pairs"] = write_pairs(files, download, output, scratch, options.data_seed)
            say(f"prepare: {name}: {facts[name]['pairs']} pairs")
    return facts


def _sources(download: Download, files: list[Path]) -> list[dict[str, Any]]:
    return [
        {"url": remote.url, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for remote, path in zip(download.files, files, strict=True)
    ]
