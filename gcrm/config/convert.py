"""Options of `convert`: logs of lm-eval and lighteval as completions."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, model_validator

from gcrm.config.base import Settings
from gcrm.config.types import OutputFolder, Unique


def _pattern(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"is not a regular expression ({error})") from None
    if groups > 1:
        raise ValueError("must have one group at most; write the others as (?:…)")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class ConvertOptions(Settings):
    """Write what lm-eval or lighteval has logged as completions of a benchmark.

    Reads lm-eval's samples_<task>_<date>.jsonl (--log_samples) and lighteval's
    details_<task>_<date>.parquet (--save-details). Writes output-greedy.jsonl and
    output-rs<k>.jsonl.
    """

    greedy: Path | None = None
    """log of greedy solutions (default: none)"""
    samples: Annotated[list[Path], Unique] = []
    """logs of sampled solutions; each log, and each repeat in it, becomes one output-rs<k>.jsonl"""
    save_dir: OutputFolder
    """folder of the benchmark, by whose name it is known: .../completions/<benchmark>"""
    filter: str | None = None
    """lm-eval's filter whose answers are read, such as strict-match (default: the only one)"""
    metric: str | None = None
    """metric of the log that says whether a solution is correct: 0 or 1 (default: the only one)"""
    answer_pattern: Pattern | None = None
    """regular expression for the answer in a solution, by its last match; solutions are then
    labelled by their answers. Needed where a log has one label for several solutions (default: the
    log's answers and labels)"""
    question_column: str | None = None
    """column of lm-eval's doc with the question (default: question, problem and the like)"""
    question_pattern: Pattern | None = None
    """regular expression for the question in the prompt, by its last match (default: that column
    in logs of lm-eval, the whole query in those of lighteval)"""

    @model_validator(mode="after")
    def _something_to_do(self) -> "ConvertOptions":
        if self.greedy is None and not self.samples:
            raise ValueError("give --greedy, --samples, or both")
        if self.question_column is not None and self.question_pattern is not None:
            raise ValueError("give either --question_column or --question_pattern")
        return self

    @model_validator(mode="after")
    def _logs_stay(self) -> "ConvertOptions":
        for log in (*self.samples, *([] if self.greedy is None else [self.greedy])):
            inside = log.resolve().parent == self.save_dir.resolve()
            if inside and log.match("output-*.jsonl"):
                raise ValueError(f"{log} would be overwritten; give another --save_dir")
        return self
