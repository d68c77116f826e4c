"""Stage `convert`: writes what lm-eval or lighteval has logged as completions of a benchmark."""

from collections.abc import Iterator
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.convert import ConvertOptions
from gcrm.data.completions import checked_solution
from gcrm.data.evaluation_logs import Logged, expected_answer, last_match, read_log
from gcrm.lineage.provenance import FILE, write_provenance
from gcrm.stats.answers import canonical
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, write_jsonl
from gcrm.utils.logging import say


def run(options: ConvertOptions) -> None:
    """Write output-greedy.jsonl and output-rs<k>.jsonl; all logs are read before.

    Raises:
        UserError: a log cannot be read, a row has no label, or the folder has other completions.
    """
    files: dict[str, list[Row]] = {}
    if options.greedy is not None:
        files["greedy"] = _greedy(options.greedy, options)
    for log in options.samples:
        for rows in _samples(log, options):
            files[f"rs{len(files) - ('greedy' in files)}"] = rows
    _check_folder(options.save_dir, files)
    paths = [options.save_dir / f"output-{name}.jsonl" for name in files]
    for path, rows in zip(paths, files.values(), strict=True):
        write_jsonl(path, rows)
        correct = sum(row["is_correct"] for row in rows)
        answers = sum(row["predicted_answer"] is not None for row in rows)
        say(f"convert: {path}: {len(rows)} solutions, {correct} correct, {answers} with an answer")
    write_provenance(
        options.save_dir / FILE,
        options,
        inputs=[log for log in (options.greedy, *options.samples) if log is not None],
        outputs=paths,
    )


def _greedy(log: Path, options: ConvertOptions) -> list[Row]:
    """The rows of a log of greedy solutions.

    Raises:
        UserError: the solutions were sampled.
    """
    rows: list[Row] = []
    for logged in read_log(log, options):
        if logged.sampled or len(logged.solutions) > 1:
            raise UserError(f"{logged.where}: its solutions are samples; give the log as --samples")
        rows += _rows(logged, options)
    return rows


def _samples(log: Path, options: ConvertOptions) -> Iterator[list[Row]]:
    """The rows of a log of sampled solutions: those of the first sample of each problem, …

    Raises:
        UserError: the solutions were decoded greedily.
    """
    repeats: list[list[Row]] = []
    for logged in read_log(log, options):
        if logged.sampled is False:
            raise UserError(f"{logged.where}: its solutions are greedy; give the log as --greedy")
        for k, row in enumerate(_rows(logged, options)):
            if k == len(repeats):
                repeats.append([])
            repeats[k].append(row)
    yield from repeats


def _rows(logged: Logged, options: ConvertOptions) -> Iterator[Row]:
    """A row of a completion file for each solution of a problem, in their order."""
    pattern = options.answer_pattern
    expected = expected_answer(logged.target, pattern)
    for solution in logged.solutions:
        if pattern is not None:
            answer = last_match(pattern, solution)
            correct = answer is not None and canonical(answer) == canonical(expected)
        elif logged.correct is not None:
            answer, correct = logged.answer, logged.correct
        else:
            raise UserError(
                f"{logged.where}: has {len(logged.solutions)} solutions, and not a label for each; "
                "give --answer_pattern, by which answers are found and compared"
            )
        row = {
            "question": logged.question,
            "expected_answer": expected,
            "generated_solution": solution,
            "predicted_answer": answer,
            "is_correct": correct,
        }
        yield checked_solution(row, logged.where)


def _check_folder(folder: Path, files: dict[str, list[Row]]) -> None:
    """Check that no other completions lie in the folder: they would be taken for this model's.

    Raises:
        UserError: there are some.
    """
    names = {f"output-{name}.jsonl" for name in files}
    others = sorted(path.name for path in folder.glob("output-*.jsonl") if path.name not in names)
    if others:
        raise UserError(
            f"{folder}: has {others[0]}, which this command does not write; convert greedy and "
            "sampled solutions together, or give an empty folder"
        )


if __name__ == "__main__":
    raise SystemExit(run_stage(ConvertOptions, run))
