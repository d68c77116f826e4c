"""From fetched files to the data of a run: preference pairs, and completions of the benchmarks.

Rows of other projects keep their text; only the files change. What does not fit into memory is
read row by row.
"""

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from gcrm.config.download import Download
from gcrm.config.layout import discard_samples
from gcrm.data.archives import members, opened, unpack
from gcrm.data.completions import iter_solutions
from gcrm.data.questions import question_key
from gcrm.data.rows import rows_of
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, write_jsonl
from gcrm.utils.logging import Progress, say

ROWS_BETWEEN_LINES = 1_000_000
"""rows of a long file after which it is said how far the reading is"""


def write_pairs(
    files: Sequence[Path], download: Download, output: Path, scratch: Path, seed: int
) -> int:
    """Write the preference pairs of fetched files as JSON lines.

    Args:
        files: the fetched files, as `download` says.
        scratch: a folder for what is unpacked; it is removed.
        seed: of the choice among solutions.

    Returns:
        The number of pairs.

    Raises:
        UserError: a file or row cannot be read, or there is no pair.
    """
    counted = 0

    def count(rows: Iterable[Row]) -> Iterator[Row]:
        nonlocal counted
        for row in rows:
            counted += 1
            yield row

    try:
        sources = [source for file in files for source in _sources(file, download.folder, scratch)]
        if download.format == "pairs":
            rows: Iterable[Row] = (row for source in sources for _, row in rows_of(str(source)))
        else:
            labelled = (row for source in sources for row in _counted(source))
            rows = pair_solutions(labelled, download.max_pairs_per_problem, seed)
        write_jsonl(output, count(rows))
        if not counted:
            output.unlink()
            names = ", ".join(file.name for file in files)
            raise UserError(f"{names}: no question has both a correct and an incorrect solution")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return counted


def pair_solutions(rows: Iterable[Row], most: int, seed: int) -> Iterator[Row]:
    """Rows {question, correct, incorrect}: of each question the solutions of smallest hash.

    Memory holds no more than `most` correct and incorrect solutions of each question, however many
    rows there are. The choice depends on seed, question and texts, not on the order of the rows;
    no solution is in two pairs, and one that is labelled both ways among those kept is in none.

    Args:
        rows: labelled solutions (question, generated_solution, is_correct).
        most: pairs of one question, at the most.
    """
    keys: dict[str, str] = {}
    kept: dict[str, tuple[str, dict[bool, dict[bytes, str]]]] = {}
    for row in rows:
        question, text = row["question"], row["generated_solution"]
        if not text.strip():
            continue
        key = keys.get(question) or keys.setdefault(question, question_key(question))
        side = kept.setdefault(key, (question, {True: {}, False: {}}))[1][row["is_correct"]]
        side[hashlib.sha256(f"{seed} {key} {text}".encode()).digest()] = text
        if len(side) > most:
            del side[max(side)]
    for question, sides in kept.values():
        both = sides[True].keys() & sides[False].keys()
        correct, incorrect = (
            [side[mark] for mark in sorted(side.keys() - both)]
            for side in (sides[True], sides[False])
        )
        for good, bad in zip(correct, incorrect, strict=False):
            yield {"question": question, "correct": good, "incorrect": bad}


def write_completions(
    archive: Path,
    download: Download,
    benchmarks: Iterable[str],
    target: Path,
    scratch: Path,
) -> Mapping[str, int]:
    """Write <benchmark>/output-greedy.jsonl, output-rs<k>.jsonl from a .zip of such files.

    Args:
        target: the folder of completions.
        scratch: a folder for the file that is just unpacked; it is removed.

    Returns:
        The number of solutions in each benchmark's greedy file.

    Raises:
        UserError: a file or folder is not in the archive, or a row is broken.
    """
    solutions = {}
    names = [
        (benchmark, f"output-{name}.jsonl")
        for benchmark in benchmarks
        for name in ("greedy", *(f"rs{k}" for k in range(download.samples.get(benchmark, 0))))
    ]
    progress = Progress(f"prepare: unpack {archive.name}", len(names), "file")
    try:
        with opened(archive) as zipped:
            found = members(zipped, download.folder)
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
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return solutions


def _missing(
    archive: Path, folder: str, member: PurePosixPath, found: Iterable[PurePosixPath]
) -> str:
    beside = sorted(path.name for path in found if path.parent == member.parent)
    return (
        f"{archive}: has no {PurePosixPath(folder, member)} (in that folder: {len(beside)} files"
        f"{', ' + ', '.join(beside[:3]) + ' …' if beside else ''}); correct folder, benchmarks or "
        "samples in the config"
    )


def _sources(file: Path, folder: str, scratch: Path) -> list[Path]:
    """The file, or what is in it: data files, or folders saved by `datasets`."""
    if file.suffix == ".gz":
        plain = scratch / file.name.removesuffix(".gz")
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            with gzip.open(file) as packed, plain.open("wb") as copy:
                shutil.copyfileobj(packed, copy, 1 << 20)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(
                f"{file}: is no .gz file that can be read ({error}); delete it to fetch it again"
            ) from None
        return [plain]
    if file.suffix != ".zip":
        return [file]
    home = scratch / file.stem
    with opened(file) as archive:
        unpack(archive, members(archive, folder), home)
    for mark in ("dataset_dict.json", "state.json"):
        if saved := sorted(path.parent for path in home.rglob(mark)):
            return saved
    data = sorted(path for path in home.rglob("*") if path.suffix in (".jsonl", ".parquet"))
    if not data:
        raise UserError(
            f"{file}: holds neither a folder saved by `datasets` nor .jsonl or .parquet files"
        )
    return data


def _counted(file: Path) -> Iterator[Row]:
    for number, row in enumerate(iter_solutions(file), start=1):
        if number % ROWS_BETWEEN_LINES == 0:
            say(f"prepare: {file.name}: {number:,} solutions read")
        yield row
