"""Logs of evaluations by lm-eval and lighteval: questions with a model's solutions and labels.

lm-eval writes `samples_<task>_<date>.jsonl`: a row for each problem and filter, with the row of the
data set (`doc`), the request, and all repeats of the response. lighteval writes
`details_<task>_<date>.parquet`: a row for each problem, with its query and all samples.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcrm.config.convert import ConvertOptions
from gcrm.data.fields import check_text, holds_text
from gcrm.data.layouts import PROMPTS, check_nothing_lost
from gcrm.data.sources import iter_rows
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row

LM_EVAL = ("doc", "target", "arguments", "resps", "filtered_resps")
LIGHTEVAL = ("doc", "metric", "model_response")
"""columns by which a log is known"""
BESIDE_METRICS = {*LM_EVAL, "doc_id", "filter", "doc_hash", "prompt_hash", "target_hash"}
"""columns of lm-eval's logs without a list of their metrics; the others are metrics"""
NO_FILTER = "none"
"""lm-eval's name of the filter that extracts no answer"""
NO_ANSWER = ("[invalid]", "")
"""what lm-eval's filters give where a response has no answer"""
FINAL = "####"
"""mark of the final answer in a worked solution, as in GSM8K"""


Numbered = list[tuple[str, Row]]
"""rows, and where each stands, for messages"""


@dataclass(frozen=True)
class Logged:
    """A problem of a log, with the solutions that were generated to it.

    Attributes:
        where: the row of the log, for messages.
        target: the expected answer, or a worked solution with it.
        solutions: one, or one for each repeat.
        answer: of the only solution, as the log has it; None if there is none.
        correct: whether the only solution is correct; None for several ones.
        sampled: whether the decoding was sampled; None if the log does not say.
    """

    where: str
    question: str
    target: str
    solutions: list[str]
    answer: str | None
    correct: bool | None
    sampled: bool | None


def read_log(path: Path, options: ConvertOptions) -> list[Logged]:
    """Read a log of lm-eval or lighteval, recognised by its columns.

    Raises:
        UserError: the file cannot be read, is not a log of generated text, or a choice must be made
            among its filters, metrics or columns.
    """
    rows = [(f"{path}, row {number}", row) for number, row in iter_rows(str(path))]
    where, first = rows[0]
    read: Callable[[Row, ConvertOptions, str], Logged]
    if all(name in first for name in LM_EVAL):
        read, rows = _of_lm_eval, _by_filter(rows, options.filter, path)
    elif all(isinstance(first.get(name), dict) for name in LIGHTEVAL):
        read = _of_lighteval
    else:
        raise UserError(
            f"{where}: neither a log of lm-eval (columns {', '.join(LM_EVAL)}) nor one of "
            f"lighteval ({', '.join(LIGHTEVAL)}); there are: {', '.join(first)}"
        )
    return [read(row, options, where) for where, row in rows]


def last_match(pattern: str, text: str) -> str | None:
    """What the last match of a pattern in a text has in its group, or as a whole without one."""
    matches = list(re.finditer(pattern, text))
    if not matches:
        return None
    found: str | None = matches[-1][matches[-1].re.groups]
    return (found or "").strip() or None


def expected_answer(target: str, pattern: str | None) -> str:
    """The expected answer in a target: by the pattern, or what follows `####`, or all of it."""
    found = last_match(pattern, target) if pattern is not None else None
    return found or target.rpartition(FINAL)[2].strip()


# --- lm-eval ---


def _by_filter(rows: Numbered, wanted: str | None, path: Path) -> Numbered:
    """The rows of one filter; lm-eval has one for each problem and filter."""
    names = list(dict.fromkeys(row.get("filter", NO_FILTER) for _, row in rows))
    if wanted is None and len(names) > 1:
        raise UserError(f"{path}: has the filters {', '.join(names)}; choose by --filter")
    name = names[0] if wanted is None else wanted
    if name not in names:
        raise UserError(f"{path}: has no filter {name!r}; there are: {', '.join(names)}")
    return [(where, row) for where, row in rows if row.get("filter", NO_FILTER) == name]


def _of_lm_eval(row: Row, options: ConvertOptions, where: str) -> Logged:
    if absent := [name for name in LM_EVAL if name not in row]:
        raise UserError(f"{where}: has no {', '.join(absent)}, unlike the first row")
    prompt, decoding = _request(row, where)
    responses = row["resps"]
    solutions = _texts(responses[0]) if isinstance(responses, list) and responses else None
    if solutions is None or len(responses) != 1:
        raise UserError(
            f"{where}: resps has no generated solutions; expected the log of a task with "
            "output_type: generate_until"
        )
    metrics = {name: row.get(name) for name in row.get("metrics", set(row) - BESIDE_METRICS)}
    return Logged(
        where=where,
        question=_question(row["doc"], prompt, options, where),
        target=check_text(row["target"], "target", where),
        solutions=solutions,
        answer=_filtered(row),
        correct=_label(metrics, len(solutions), options, where),
        sampled=_is_sampled(decoding),
    )


def _request(row: Row, where: str) -> tuple[str, Row]:
    """The prompt and the settings of the generation."""
    match row["arguments"]:
        case {"gen_args_0": {"arg_0": str(prompt), "arg_1": dict(settings)}}:
            return prompt, settings
        case [[str(prompt), dict(settings)]]:  # before version 0.4.3
            return prompt, settings
    raise UserError(
        f"{where}: arguments are not a prompt and settings of a generation; expected the log of a "
        "task with output_type: generate_until"
    )


def _question(doc: Any, prompt: str, options: ConvertOptions, where: str) -> str:
    """The question: from a column of the data, or found in the prompt."""
    if options.question_pattern is not None:
        return _in_prompt(options.question_pattern, prompt, where)
    if not isinstance(doc, dict):
        raise UserError(f"{where}: doc must be an object; give --question_pattern")
    known = (name for name in PROMPTS if holds_text(doc.get(name)))
    name = options.question_column or next(known, None)
    if name is None or name not in doc:
        what = "column of a question" if name is None else f"column {name!r}"
        raise UserError(
            f"{where}: doc has no {what} (there are: {', '.join(doc)}); name it by "
            "--question_column, or give --question_pattern"
        )
    question = check_text(doc[name], f"doc.{name}", where)
    if options.question_column is None:
        check_nothing_lost(doc, [name], question, [], where)
    return question


def _filtered(row: Row) -> str | None:
    """The answer that the filter has found."""
    found = row["filtered_resps"]
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    if row.get("filter", NO_FILTER) == NO_FILTER or not isinstance(found, str):
        return None
    return None if found in NO_ANSWER else found


def _is_sampled(settings: Row) -> bool | None:
    if settings.get("temperature") in (0, "0", "0.0"):
        return False
    do_sample = settings.get("do_sample")
    return do_sample if isinstance(do_sample, bool) else None


# --- lighteval ---


def _of_lighteval(row: Row, options: ConvertOptions, where: str) -> Logged:
    doc, solutions = row["doc"], _texts(row["model_response"].get("text"))
    if options.question_column is not None:
        raise UserError(f"{where}: lighteval logs no columns of its data; give --question_pattern")
    if solutions is None:
        raise UserError(
            f"{where}: model_response.text has no generated solutions; expected the log of a "
            "generative task"
        )
    query = check_text(doc.get("query"), "doc.query", where)
    pattern = options.question_pattern
    return Logged(
        where=where,
        question=query if pattern is None else _in_prompt(pattern, query, where),
        target=_gold(doc, where),
        solutions=solutions,
        answer=_extracted(doc) if len(solutions) == 1 else None,
        correct=_label(row["metric"], len(solutions), options, where),
        sampled=None,
    )


def _gold(doc: Row, where: str) -> str:
    """The expected answer, without the space that lighteval puts before it."""
    match doc.get("choices"), doc.get("gold_index"):
        case [[*choices], int(index) | [int(index)]] if 0 <= index < len(choices):
            return check_text(choices[index], "doc.choices", where).strip()
    raise UserError(f"{where}: doc.choices and doc.gold_index must name one expected answer")


def _extracted(doc: Row) -> str | None:
    """The answer that an extractive metric has found."""
    match doc.get("specific"):
        case {"extracted_predictions": [*_, str(answer)]}:
            return answer or None
    return None


# --- both ---


def _texts(values: Any) -> list[str] | None:
    """A list of texts; None for anything else."""
    match values:
        case [_, *_] if all(isinstance(one, str) for one in values):
            return list(values)
    return None


def _in_prompt(pattern: str, prompt: str, where: str) -> str:
    question = last_match(pattern, prompt)
    if question is None:
        raise UserError(
            f"{where}: --question_pattern finds no question in the prompt, which ends with "
            f"{prompt[-60:]!r}"
        )
    return question


def _label(metrics: Row, solutions: int, options: ConvertOptions, where: str) -> bool | None:
    """Whether the only solution is correct, by the chosen metric or the only one.

    None where answers tell it, and where the log has one label for several solutions.
    """
    if options.answer_pattern is not None or solutions > 1:
        return None
    names = ", ".join(sorted(metrics)) or "none"
    if options.metric is None and len(metrics) != 1:
        raise UserError(
            f"{where}: has the metrics {names}; choose by --metric, or give --answer_pattern"
        )
    name = options.metric or next(iter(metrics))
    value = metrics.get(name)
    if value not in (0, 1):
        raise UserError(
            f"{where}: {name} is {value!r}; expected 0 or 1, whether the solution is correct: "
            f"choose another metric ({names}), or give --answer_pattern"
        )
    return bool(value)
