"""From completions or held-out preference pairs to score tables: read, encode, score, write."""

import hashlib
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.layout import completion_files
from gcrm.config.metrics import MetricsSettings
from gcrm.data.authors_format import write_authors_jsonl
from gcrm.data.completions import STEPS, read_completions
from gcrm.data.messages import Prompt
from gcrm.data.preferences import load_preferences
from gcrm.data.ragged import Ragged
from gcrm.data.scores import ScoreTable, Split, groups_of, write_scores
from gcrm.lineage.provenance import FILE, beside, read_provenance, write_provenance
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.reward_model import RewardModel, Scores
from gcrm.modeling.tokenization import Encoded, Encoder, PromptTooLong
from gcrm.scoring.scorer import Pass, score
from gcrm.utils.disk import check_writable
from gcrm.utils.distributed import join
from gcrm.utils.errors import UserError
from gcrm.utils.locks import claim
from gcrm.utils.logging import say
from gcrm.utils.paths import set_name, short_name

SKIPPED_TOKENS: int = MetricsSettings.model_fields["skip_tokens"].default
"""The share of dropped samples is reported for the default of `metrics`."""


@dataclass(frozen=True)
class Unscored:
    """The rows of one table before they are scored.

    Attributes:
        name: benchmark or held-out set.
        source: what messages call the data.
        prompts: of each row, as it is encoded: a question, or the turns of a dialogue.
        columns: of the score table: texts, labels, samples and groups.
        inputs: the files that the rows come from, for the provenance.
        where: the row of its file that each row comes from, or its question.
        left_out: pairs that are not among the rows.
    """

    name: str
    split: Split
    source: str
    prompts: Sequence[Prompt]
    columns: Mapping[str, Any]
    inputs: Sequence[Path | str]
    where: Sequence[str] = ()
    left_out: int = 0

    def without_pairs(self, pairs: set[int]) -> "Unscored":
        """Without the rows of the pairs of these numbers; the others are numbered anew."""
        kept = [row for row in range(len(self.prompts)) if row // 2 not in pairs]
        columns = {name: [column[row] for row in kept] for name, column in self.columns.items()}
        columns["group"] = [position // 2 for position in range(len(kept))]
        prompts = [self.prompts[row] for row in kept]
        return replace(self, prompts=prompts, columns=columns, left_out=len(pairs))


def evaluate(options: EvaluateOptions) -> None:
    """Score the benchmarks or the held-out sets of the options.

    Raises:
        UserError: a file is missing or broken (all are read before the first is scored), a prompt
            leaves no room for a completion, or no table can be written.
    """
    tables = [*(_pairs(options) if options.dataset else _solutions(options))]
    for table in tables:
        _check_folder(options, scores_path(options, table))
    processes = join()
    reward_model = RewardModel.from_pretrained(
        **options.loading, goal_state=options.goal_state_file
    )
    begun = []
    with ExitStack() as claims:
        for table in tables:
            rows, encoded = encode(table, reward_model.encoder)
            path = scores_path(options, rows)
            check_writable(path.parent)
            claims.enter_context(claim(path))
            begun.append(_unfinished(options, reward_model, encoded, path))
            name = f"evaluate {short_name(options.reward_model_path)} {rows.name} {rows.split}"
            work = Pass(reward_model, options.tokens_per_batch, processes, begun[-1], name)
            scores = score(encoded, work)
            if processes.first:
                _write(options, with_true_values(rows, encoded, reward_model.encoder), scores, path)
        if processes.first:
            for unfinished in begun:  # kept until all tables are written
                unfinished.discard()


def solutions(
    folder: Path,
    benchmarks: Sequence[str],
    splits: Sequence[Literal["greedy", "all"]],
    max_problems: int | None,
    all_needed: bool,
) -> Iterator[Unscored]:
    """The solutions to benchmarks, a table a benchmark and split.

    Args:
        all_needed: refuse a benchmark without samples, instead of leaving out its split `all`.
    """
    both: tuple[Literal["greedy", "all"], ...] = ("greedy", "all")
    for benchmark in benchmarks:
        files = {split: completion_files(folder, benchmark, split) for split in both}
        for split in splits:
            if split == "all" and not files[split] and not all_needed:
                continue
            rows = read_completions(folder, benchmark, split, max_problems)
            questions = [row["question"] for row in rows]
            columns: dict[str, Sequence[Any]] = {
                "group": groups_of(questions).tolist(),
                "prompt": questions,
                "completion": [row["generated_solution"] for row in rows],
                "label": [row["is_correct"] for row in rows],
            }
            for name in ("sample", "expected_answer", "predicted_answer"):
                columns[name] = [row[name] for row in rows]
            if any(STEPS[0] in row for row in rows):
                columns |= {name: [row.get(name, []) for row in rows] for name in STEPS}
            source = f"{benchmark} {split}"
            where = [f"{source}, question {question[:40]!a}" for question in questions]
            # A cap counts the problems of both splits.
            counted = files.values() if max_problems is not None else [files[split]]
            inputs = [file for group in counted for file in group]
            yield Unscored(benchmark, split, source, questions, columns, inputs, where)


def _solutions(options: EvaluateOptions) -> Iterator[Unscored]:
    assert options.completions_data_path is not None  # the options model ensures it
    return solutions(
        options.completions_data_path,
        options.benchmarks,
        options.splits,
        options.max_problems,
        all_needed=options.output is not None,
    )


def _pairs(options: EvaluateOptions) -> Iterator[Unscored]:
    for source in options.dataset:
        pairs = load_preferences([source], max_pairs=options.max_pairs, heldout=True)
        sides = [(number, pair) for number, pair in enumerate(pairs) for _ in range(2)]
        columns: dict[str, Sequence[Any]] = {
            "group": [number for number, _ in sides],
            "prompt": [pair.question for _, pair in sides],
            "completion": [text for pair in pairs for text in (pair.chosen, pair.rejected)],
            "label": [True, False] * len(pairs),
            "sample": [0] * len(sides),
        }
        prompts, where = zip(*((pair.prompt, pair.where) for _, pair in sides), strict=True)
        yield Unscored(set_name(source), "pairs", source, prompts, columns, [source], where)


def encode(table: Unscored, encoder: Encoder) -> tuple[Unscored, list[Encoded]]:
    """Encode the rows; pairs whose prompts are too long are left out.

    Raises:
        UserError: the prompt of a solution is too long, or those of all pairs.
    """
    texts = zip(table.prompts, table.columns["completion"], strict=True)
    found = encoder.encode_each(texts, table.where)
    long = {row: one for row, one in enumerate(found) if isinstance(one, PromptTooLong)}
    if long and table.split != "pairs":
        questions = {str(table.prompts[row]) for row in long}
        raise UserError(
            f"{table.source}: {next(iter(long.values()))}; so are {len(questions)} of "
            f"{len(set(table.columns['prompt']))} problems: raise max_len, if the model's context "
            "is longer, or take their rows out of the files"
        )
    if long:
        pairs, total = {row // 2 for row in long}, len(found) // 2
        if len(pairs) == total:
            raise UserError(
                f"{table.source}: no prompt leaves room for an answer in max_len = "
                f"{encoder.max_len} tokens"
            )
        say(
            f"evaluate {table.source}: {len(pairs)} of {total} pairs left out: their prompts leave "
            f"no room for an answer in {encoder.max_len} tokens"
        )
        table = table.without_pairs(pairs)
        found = [one for row, one in enumerate(found) if row // 2 not in pairs]
    encoded = [one for one in found if isinstance(one, Encoded)]
    if truncated := sum(one.truncated for one in encoded):
        say(
            f"evaluate {table.source}: {truncated} of {len(encoded)} completions are longer than "
            f"{encoder.max_len} tokens with their prompts and lost their end (column 'truncated')"
        )
    return table, encoded


def with_true_values(table: Unscored, encoded: Sequence[Encoded], encoder: Encoder) -> Unscored:
    """A table with the values of its steps, where it has any, as values of its tokens.

    A step ends with the token that stands for its last character.
    """
    if STEPS[0] not in table.columns:
        return table
    columns = dict(table.columns)
    steps = zip(columns.pop(STEPS[0]), columns.pop(STEPS[1]), strict=True)
    found = Ragged.zeros([one.num_tokens for one in encoded])
    found.values[:] = np.nan
    for row, (ends, values) in enumerate(steps):
        spans = encoder.spans(table.prompts[row], columns["completion"][row])
        last = np.searchsorted([end for _, end in spans], ends)
        whole = last < len(found[row]) - 1  # a completion that was cut off has lost its last steps
        found[row][last[whole]] = np.asarray(values)[whole]
    return replace(table, columns=columns | {"true_values": found})


def scores_path(options: EvaluateOptions, table: Unscored) -> Path:
    """The Parquet file of a table."""
    if options.output is not None:
        return options.output
    assert options.save_dir is not None  # the options model ensures it
    model = set_name(options.reward_model_path)
    return options.save_dir / model / table.name / table.split / "scores.parquet"


def _unfinished(
    options: EvaluateOptions, reward_model: RewardModel, encoded: Sequence[Encoded], path: Path
) -> Unfinished:
    """The unfinished work on the scores of exactly these tokens by exactly this model."""
    digest = hashlib.sha256()
    for one in encoded:
        digest.update(array("q", [len(one), one.start, *one.ids]).tobytes())
    return Unfinished(
        path,
        "evaluate",
        {"tokens_per_batch": options.tokens_per_batch},
        options.model_sources,
        *(digest.hexdigest(), *reward_model.numerics),
    )


def _check_folder(options: EvaluateOptions, path: Path) -> None:
    """Refuse to replace the scores of another model: many models are called seed0.

    Raises:
        UserError: the folder holds such scores.
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


def _write(options: EvaluateOptions, rows: Unscored, scores: Scores, path: Path) -> None:
    """Write the table, for standalone commands as the authors' JSON lines, and its provenance."""
    names = ("reward", "partial_rewards", "q_values", "num_tokens", "truncated")
    columns = {**rows.columns, **{name: getattr(scores, name) for name in names}}
    table = ScoreTable.of(rows.split, columns, rows.left_out)
    if options.output is None and rows.split != "pairs":
        path = path.with_name("output.jsonl")
        write_authors_jsonl(path, table)
    else:
        write_scores(path, table)
    if options.output is None:
        say(f"evaluate: wrote {path}")
    facts = {"completions": len(table)}
    if rows.split == "pairs":
        facts = {"pairs": len(table) // 2, "pairs_left_out": rows.left_out}
    elif table.q_values is not None:  # what that is worth says `metrics`
        later = (table.q_values[row][SKIPPED_TOKENS:] for row in range(len(table)))
        dropped = np.mean([bool((values < options.filter_threshold).any()) for values in later])
        say(
            f"evaluate: {dropped:.1%} of the completions have a Q-value below "
            f"{options.filter_threshold:g}"
        )
    inputs = [*options.model_sources, *rows.inputs]
    write_provenance(beside(path), options, inputs, [path], **facts)
