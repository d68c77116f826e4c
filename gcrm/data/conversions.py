"""Converting downloaded files to preference pairs and completions of the benchmarks.

Texts are kept as they are; large files are read row by row.
"""

import gzip
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gcrm.config.download import Download
from gcrm.config.layout import discard_samples
from gcrm.config.prepare import PrepareOptions
from gcrm.data.completions import iter_solutions
from gcrm.data.download import archive_files, fetch, open_archive, unpack
from gcrm.data.pairing import disjoint_pairs
from gcrm.data.sources import iter_rows
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, file_sha256, write_jsonl
from gcrm.utils.logging import Progress, say

ROWS_BETWEEN_REPORTS = 1_000_000
"""solutions between two lines of progress for a large file"""


def fetch_data(options: PrepareOptions) -> dict[str, Any]:
    """Fetch and convert all of `options.downloads`.

    Returns:
        For each download: url, bytes and SHA-256 of its files, and the number of pairs, or of
        solutions per benchmark.

    Raises:
        UserError: a file cannot be fetched, or its content does not match the config.
    """
    facts: dict[str, Any] = {}
    for name, download in options.downloads.items():
        assert options.download_dir is not None  # the options model has checked the folders
        files = [fetch(file, options.download_dir) for file in download.files]
        sources = [
            {"url": remote.url, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for remote, path in zip(download.files, files, strict=True)
        ]
        facts[name] = {"files": sources}
        scratch = options.download_dir / f".{name}.unpacked"
        try:
            if download.format == "completions":
                assert options.completions_data_path is not None
                facts[name]["solutions"] = solutions = write_completions(
                    files[0], download, options.benchmarks, options.completions_data_path, scratch
                )
                say(f"prepare: {name}: completions of {len(solutions)} benchmarks")
            else:
                assert options.preferences_dir is not None
                output = options.preferences_dir / f"{name}.jsonl"
                facts[name]["pairs"] = pairs = write_pairs(
                    files, download, output, scratch, options.data_seed
                )
                say(f"prepare: {name}: {pairs} pairs")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return facts


def write_pairs(
    files: Iterable[Path], download: Download, output: Path, scratch: Path, seed: int
) -> int:
    """Write the preference pairs of fetched files as JSON lines.

    Args:
        files: the fetched files of `download`.
        scratch: folder for unpacked files.
        seed: seed of the choice of solutions.

    Returns:
        The number of pairs.

    Raises:
        UserError: a file or row cannot be read, or there are no pairs.
    """
    count = 0

    def pairs() -> Iterator[Row]:
        nonlocal count
        sources = [source for file in files for source in _unpacked(file, download.folder, scratch)]
        if download.format == "pairs":
            rows: Iterator[Row] = (
                row for source in sources for _, row in iter_rows(str(source), [download.split])
            )
        else:
            solutions = (row for source in sources for row in _solutions(source))
            rows = disjoint_pairs(solutions, download.max_pairs_per_problem, seed)
        for row in rows:
            count += 1
            yield row
        if not count:
            names = ", ".join(file.name for file in files)
            raise UserError(f"{names}: no question has both a correct and an incorrect solution")

    write_jsonl(output, pairs())
    return count


def write_completions(
    archive: Path,
    download: Download,
    benchmarks: Iterable[str],
    target: Path,
    scratch: Path,
) -> dict[str, int]:
    """Extract <benchmark>/output-greedy.jsonl and output-rs<k>.jsonl from a .zip file.

    Args:
        target: the folder of completions.
        scratch: folder for unpacked files.

    Returns:
        The number of solutions in each benchmark's greedy file.

    Raises:
        UserError: a file or folder is not in the archive, or a row is invalid.
    """
    solutions = {}
    names = [
        (benchmark, f"output-{name}.jsonl")
        for benchmark in benchmarks
        for name in ("greedy", *(f"rs{k}" for k in range(download.samples.get(benchmark, 0))))
    ]
    progress = Progress(f"prepare: unpack {archive.name}", len(names), "file")
    with open_archive(archive) as zipped:
        found = archive_files(zipped, download.folder)
        for benchmark, name in names:
            member = PurePosixPath(benchmark, name)
            if member not in found:
                raise UserError(_missing(archive, download.folder, member, found))
            (file,) = unpack(zipped, {member: found[member]}, scratch)
            rows = list(iter_solutions(file))
            write_jsonl(target / benchmark / name, rows)
            file.unlink()
            if name == "output-greedy.jsonl":
                solutions[benchmark] = len(rows)
            progress.advance()
    for benchmark in solutions:
        discard_samples(target / benchmark, download.samples.get(benchmark, 0))
    return solutions


def _missing(
    archive: Path, folder: str, member: PurePosixPath, found: Iterable[PurePosixPath]
) -> str:
    names = sorted(path.name for path in found if path.parent == member.parent)
    return (
        f"{archive}: has no {PurePosixPath(folder, member)} (in that folder: {len(names)} files"
        f"{', ' + ', '.join(names[:3]) + ' …' if names else ''}); correct folder, benchmarks or "
        "samples in the config"
    )


def _unpacked(file: Path, folder: str, scratch: Path) -> list[Path]:
    """The file, or the contents of an archive: data files, or folders saved by `datasets`."""
    if file.suffix == ".gz":
        plain = scratch / file.name.removesuffix(".gz")
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            with gzip.open(file) as packed, plain.open("wb") as copy:
                shutil.copyfileobj(packed, copy, 1 << 20)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(
                f"{file}: not a readable .gz file ({error}); delete it to fetch it again"
            ) from None
        return [plain]
    if file.suffix != ".zip":
        return [file]
    home = scratch / file.stem
    with open_archive(file) as archive:
        unpack(archive, archive_files(archive, folder), home)
    for mark in ("dataset_dict.json", "state.json"):
        if saved := sorted(path.parent for path in home.rglob(mark)):
            return saved
    data = sorted(path for path in home.rglob("*") if path.suffix in (".jsonl", ".parquet"))
    if not data:
        raise UserError(
            f"{file}: has neither a folder saved by `datasets` nor .jsonl or .parquet files"
        )
    return data


def _solutions(file: Path) -> Iterator[Row]:
    for number, row in enumerate(iter_solutions(file), start=1):
        if number % ROWS_BETWEEN_REPORTS == 0:
            say(f"prepare: {file.name}: {number:,} solutions read")
        yield row
