"""From completions to score tables, benchmark by benchmark."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.layout import Split, completion_files
from gcrm.config.metrics import MetricsSettings
from gcrm.data.completions import read_completions
from gcrm.data.scores import read_scores, write_authors_jsonl, write_scores
from gcrm.lineage.provenance import FILE, beside, read_provenance, write_provenance
from gcrm.modeling.reward_model import Scores
from gcrm.modeling.tokenization import Encoded, Encoder, PromptTooLong
from gcrm.scoring.scorer import Scorer
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row
from gcrm.utils.logging import say
from gcrm.utils.paths import set_name

SKIPPED_TOKENS: int = MetricsSettings.model_fields["skip_tokens"].default
"""Standalone `evaluate` says what the filter would drop as `metrics` counts by default."""


def score_benchmarks(options: EvaluateOptions) -> None:
    """Score as the options say.

    Raises:
        UserError: a file is missing or broken; all are read before the first is scored.
    """
    work = [
        (benchmark, split, _read(options, benchmark, split))
        for benchmark in options.benchmarks
        for split in options.splits
        if split == "greedy" or options.output or _has_samples(options, benchmark)
    ]
    for benchmark, split, _ in work:
        check_place(options, scores_path(options, benchmark, split))
    with Scorer(options) as scorer:
        for benchmark, split, rows in work:
            encoded = _encode(rows, scorer.reward_model.encoder, f"{benchmark} {split}")
            path = scores_path(options, benchmark, split)
            scores = scorer.score(encoded, f"{benchmark} {split}", path)
            if scorer.processes.first:
                _write(options, benchmark, split, rows, scores)
            _say_filtered(scores, options.filter_threshold)


def _has_samples(options: EvaluateOptions, benchmark: str) -> bool:
    return bool(completion_files(_folder(options), benchmark, "all"))


def _read(options: EvaluateOptions, benchmark: str, split: Split) -> list[Row]:
    return read_completions(_folder(options), benchmark, split, options.max_problems)


def _folder(options: EvaluateOptions) -> Path:
    assert options.completions_data_path is not None  # the options model sees to it
    return options.completions_data_path


def _encode(rows: list[Row], encoder: Encoder, what: str) -> list[Encoded]:
    try:
        encoded = encoder.encode_many((row["question"], row["generated_solution"]) for row in rows)
    except PromptTooLong as error:
        questions = {row["question"] for row in rows}
        long = sum(len(encoder.prompt_ids(one)) >= encoder.max_len for one in questions)
        raise UserError(
            f"{what}: {error}; so are {long} of {len(questions)} problems: raise max_len, if the "
            "model's context is longer, or take their rows out of the files"
        ) from None
    say_truncated(encoded, encoder, what)
    return encoded


def say_truncated(encoded: Sequence[Encoded], encoder: Encoder, what: str) -> None:
    """Say how many completions lost their end."""
    if truncated := sum(one.truncated for one in encoded):
        say(
            f"evaluate {what}: {truncated} of {len(encoded)} completions are longer than "
            f"{encoder.max_len} tokens with their prompts and lost their end (column 'truncated')"
        )


def scores_path(options: EvaluateOptions, name: str, split: str) -> Path:
    """Where the scores of a split of a benchmark, or of a held-out set, are written."""
    if options.output is not None:
        return options.output
    assert options.save_dir is not None  # the options model sees to it
    return options.save_dir / set_name(options.reward_model_path) / name / split / "scores.parquet"


def check_place(options: EvaluateOptions, path: Path) -> None:
    """Refuse to replace the scores of another model: many are called seed0.

    Raises:
        UserError: there are such scores.
    """
    if options.output is not None:
        return
    for facts in map(read_provenance, path.parent.glob(f"*.{FILE}")):
        other = facts and facts["options"].get("reward_model_path")
        if other and os.path.realpath(other) != os.path.realpath(options.reward_model_path):
            raise UserError(
                f"{path.parent}: holds the scores of {other}; give another --save_dir for those of "
                f"{options.reward_model_path}"
            )


def _write(
    options: EvaluateOptions, benchmark: str, split: Split, rows: list[Row], scores: Scores
) -> None:
    columns: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]} | vars(scores)
    if scores.q_values is None:
        del columns["q_values"]
    path = scores_path(options, benchmark, split)
    write_scores(path, columns)
    if options.output is None:
        table, path = path, path.with_name("output.jsonl")
        write_authors_jsonl(path, read_scores(table))
        table.unlink()
        say(f"evaluate: wrote {path}")
    splits: tuple[Split, ...] = (split,) if options.max_problems is None else ("greedy", "all")
    folder = _folder(options)
    inputs = [file for one in splits for file in completion_files(folder, benchmark, one)]
    write_provenance(
        beside(path),
        options,
        [*options.model_sources, *inputs],
        [path],
        completions=len(rows),
    )


def _say_filtered(scores: Scores, threshold: float) -> None:
    """What the filter would drop at this threshold; `metrics` says what that is worth."""
    if scores.q_values is None:
        return
    looked_at = [values[SKIPPED_TOKENS:] for values in scores.q_values]
    dropped = np.mean([bool((values < threshold).any()) for values in looked_at])
    say(f"evaluate: {dropped:.1%} of the completions have a Q-value below {threshold:g}")
