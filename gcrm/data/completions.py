"""Reading labelled solutions: `<benchmark>/output-greedy.jsonl` and `output-rs<k>.jsonl`."""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from gcrm.config.layout import MAX_SAMPLE, Split, completion_files, sample_number
from gcrm.data.fields import check_not_rendered
from gcrm.data.layouts import PROMPTS, check_nothing_lost, is_repeated
from gcrm.data.questions import first_by_hash, question_key
from gcrm.data.transcripts import turns_of_prompt
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, numbered_rows

STEPS = ("step_ends", "step_values")
"""optional keys of a row: characters up to the end of each step, and the probability of a right end
after it, 0 from the first error on"""


def read_completions(
    folder: Path, benchmark: str, split: Split, max_problems: int | None = None
) -> list[Row]:
    """Read the rows of a split, each with `sample`: the k of its file output-rs<k>.jsonl, or 0.

    Args:
        max_problems: largest number of problems, chosen by hash of the question among the problems
            of both splits; so both splits keep the same problems.

    Raises:
        UserError: the file does not exist, two files have the same number, or a row lacks a key or
            has a value of the wrong type.
    """
    files = completion_files(folder, benchmark, split)
    _check_numbers(files)
    if not files:
        name = "output-greedy.jsonl" if split == "greedy" else "output-rs0.jsonl"
        found = sorted({file.parent.name for file in Path(folder).glob("*/output-*.jsonl")})
        raise UserError(
            f"{Path(folder) / benchmark / name}: no such file; benchmark {benchmark!r} needs it "
            f"(folders with completions in {folder}: {', '.join(found) or 'none'})"
        )
    rows = [row for file in files for row in read_file(file)]
    if max_problems is None:
        return rows
    others = completion_files(folder, benchmark, "all" if split == "greedy" else "greedy")
    questions = {row["question"] for row in rows}
    questions.update(row["question"] for file in others for row in read_file(file))
    kept = first_by_hash(questions, max_problems)
    return [row for row in rows if question_key(row["question"]) in kept]


def _check_numbers(files: list[Path]) -> None:
    """Check that the numbers of sorted files differ, and fit the int32 of score tables."""
    for file in files:
        if sample_number(file) > MAX_SAMPLE:
            raise UserError(f"{file}: its number is above {MAX_SAMPLE}; rename it")
    for file, following in pairwise(files):
        if sample_number(file) == sample_number(following):
            raise UserError(f"{following}: has the same number as {file.name}; rename one of them")


def read_file(file: Path) -> list[Row]:
    """Read the checked rows of one file, each with `sample` (0 except for output-rs<k>.jsonl).

    Raises:
        UserError: the file cannot be read, or a row lacks a key or has a value of the wrong type.
    """
    sample = max(sample_number(file), 0)
    return [row | {"sample": sample} for row in iter_solutions(file)]


def iter_solutions(file: Path) -> Iterator[Row]:
    """Iterate over the checked rows of a file, without reading all of it into memory.

    Raises:
        UserError: as `read_file`, when the invalid row is reached.
    """
    return (checked_solution(row, f"{file}, row {number}") for number, row in numbered_rows(file))


def checked_solution(row: Row, where: str) -> Row:
    """Return the columns of a solution that are read; answers become text, or None.

    Raises:
        UserError: a column is missing, has the wrong type, or would be lost; `where` names the row.
    """
    for key in ("question", "generated_solution", "is_correct"):
        if key not in row:
            raise UserError(
                f"{where}: key {key!r} is missing (there are: {', '.join(row)}); expected "
                "question, generated_solution, is_correct and, for votes, expected_answer and "
                "predicted_answer"
            )
    for key in ("question", "generated_solution"):
        if not isinstance(row[key], str):
            raise UserError(f"{where}: {key} must be text, not {_kind(row[key])}")
    if row["is_correct"] not in (True, False):
        raise UserError(
            f"{where}: is_correct must be true or false, not {_kind(row['is_correct'])}"
        )
    question = row["question"]
    check_not_rendered([question], "question", where)
    if turns_of_prompt(question):
        raise UserError(
            f"{where}: question is a dialogue in one text, and would be read as one turn; score "
            "dialogues as held-out pairs"
        )
    # Some tools also write the question as it stood in their prompt.
    texts = {name: row[name] for name in PROMPTS if isinstance(row.get(name), str)}
    shown = [name for name, text in texts.items() if is_repeated(question, [text])]
    check_nothing_lost(row, shown, question, [row["generated_solution"]], where)
    return {
        "question": row["question"],
        "expected_answer": _answer_text(row.get("expected_answer")),
        "generated_solution": row["generated_solution"],
        "predicted_answer": _answer_text(row.get("predicted_answer")),
        "is_correct": bool(row["is_correct"]),
        **_steps(row, where),
    }


def _steps(row: Row, where: str) -> Row:
    """The ends of a solution's steps, in characters, and the value of each, where a row has them.

    Raises:
        UserError: they do not fit each other or the text.
    """
    if all(row.get(key) is None for key in STEPS):
        return {}
    ends, values = (_numbers(row.get(key), key, where) for key in STEPS)
    length = len(row["generated_solution"])
    if len(ends) != len(values):
        raise UserError(f"{where}: has {len(ends)} step_ends, but {len(values)} step_values")
    if any(end <= begin for begin, end in pairwise([0, *ends])) or max(ends, default=0) > length:
        raise UserError(
            f"{where}: step_ends must ascend, from 1 to the {length} characters of the solution"
        )
    if not all(0 <= value <= 1 for value in values):
        raise UserError(f"{where}: step_values must be probabilities, from 0 to 1")
    return dict(zip(STEPS, (ends, values), strict=True))


def _numbers(found: Any, key: str, where: str) -> list[Any]:
    kinds = (int,) if key == "step_ends" else (int, float)
    if isinstance(found, list) and all(type(one) in kinds for one in found):
        return found
    expected = "whole numbers" if key == "step_ends" else "numbers"
    raise UserError(f"{where}: {key} must be a list of {expected}, not {_kind(found)}")


def _answer_text(answer: Any) -> str | None:
    """An answer as text or null; numbers and lists (several expected values) become JSON.

    NaN becomes null: pandas writes missing answers as NaN.
    """
    if isinstance(answer, float) and math.isnan(answer):
        return None
    if answer is None or isinstance(answer, str):
        return answer
    if isinstance(answer, list):  # quoted items mark a set, not an interval
        answer = [_answer_text(part) for part in answer]
    return json.dumps(answer, ensure_ascii=False)


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
