"""Small score tables for the tests of what is made from scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gcrm.config.metrics import MetricsOptions
from gcrm.data.ragged import Ragged
from gcrm.data.scores import ScoreTable, Split, write_scores
from gcrm.metrics import run as run_metrics


def columns(
    problems: int = 40, per_problem: int = 1, seed: int = 0, with_q_values: bool = True
) -> dict[str, Any]:
    """Columns of a made score table in which rewards and Q-values know something of the labels."""
    generator = np.random.default_rng(seed)
    n = problems * per_problem
    correct = generator.random(n) < 0.5
    num_tokens = generator.integers(3, 30, n)
    towards = np.where(correct, 1, -1)
    partial = [
        generator.normal(0.1 * sign, 1, size).cumsum().astype(np.float32)
        for sign, size in zip(towards, num_tokens, strict=True)
    ]
    q_values = [
        np.tanh(generator.normal(0.4 + 0.3 * sign, 0.4, size)).astype(np.float32)
        for sign, size in zip(towards, num_tokens, strict=True)
    ]
    result: dict[str, Any] = {
        "prompt": [f"question {i // per_problem}?" for i in range(n)],
        "expected_answer": ["18"] * n,
        "completion": [f"solution {i}\nwith ≥ 2 lines" for i in range(n)],
        "predicted_answer": [
            "18.0" if right else (None if i % 7 == 0 else str(i % 3))
            for i, right in enumerate(correct)
        ],
        "label": correct,
        "sample": [i % per_problem for i in range(n)],
        "reward": np.array([rewards[-1] for rewards in partial]),
        "partial_rewards": partial,
        "num_tokens": num_tokens,
        "truncated": np.zeros(n, bool),
    }
    return result | {"q_values": q_values} if with_q_values else result


def plain_auroc(label: np.ndarray, score: np.ndarray) -> float:
    """By its definition: how often a positive row lies above a negative one; ties count half.

    For small tables that are resampled often: scikit-learn checks its input with each call.
    """
    above = score[label][:, None] - score[~label]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def steps_of(right: bool, rng: np.random.Generator) -> tuple[list[float], np.ndarray]:
    """A solution of 2 to 5 steps of three tokens, then EOS.

    Returns:
        The true value at the last token of each step, and NaN at all others; and the true value of
        the step that each token is in.
    """
    steps = int(rng.integers(2, 6))
    fails = steps if right else int(rng.integers(0, steps))
    values = [0.0 if step >= fails else 0.8 ** (steps - step - 1) for step in range(steps)]
    tokens = [float("nan")] * (3 * steps + 1)
    tokens[2:-1:3] = values
    return tokens, np.repeat([*values, values[-1]], [3] * steps + [1])


def write_columns(path: Path, made: Mapping[str, Any], split: Split | None = None) -> Path:
    """A score table in a file; its split is `all` where there are several samples."""
    split = split or ("all" if any(made["sample"]) else "greedy")
    write_scores(path, ScoreTable.of(split, made))
    return path


def score_file(path: Path, **options: Any) -> Path:
    """A score table of made columns in a file."""
    return write_columns(path, columns(**options))


def assert_same_table(one: ScoreTable, other: ScoreTable) -> None:
    """The same columns with the same values and types, to the last bit."""
    assert (one.split, one.left_out) == (other.split, other.left_out)
    assert list(one.columns()) == list(other.columns())
    for name, column in one.columns().items():
        found = other.columns()[name]
        if isinstance(column, Ragged):
            assert np.array_equal(found.values, column.values), name
            assert np.array_equal(found.offsets, column.offsets), name
        else:
            assert found.tolist() == column.tolist() and found.dtype == column.dtype, name


def pair_table(
    pairs: Sequence[tuple[str, str, str]], scores: Mapping[str, Any], left_out: int = 0
) -> ScoreTable:
    """Pairs (prompt, chosen, rejected) with the scores of chosen, rejected, chosen, ..."""
    texts = {
        "group": np.repeat(np.arange(len(pairs)), 2),
        "prompt": [prompt for prompt, _, _ in pairs for _ in range(2)],
        "completion": [side for _, *sides in pairs for side in sides],
        "label": [True, False] * len(pairs),
        "sample": [0, 0] * len(pairs),
    }
    return ScoreTable.of("pairs", texts | dict(scores), left_out)


def pair_metrics(output: Path, seed: int = 0, lift: float = 1.0, left_out: int = 0) -> Path:
    """Metrics of 60 made pairs whose chosen sides are `lift` above the rejected ones."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 9, 120)
    partial = [generator.normal(lift * (i % 2 == 0), 1, n) for i, n in enumerate(lengths)]
    scores: dict[str, Any] = {
        "reward": np.array([row[-1] for row in partial], np.float32),
        "partial_rewards": partial,
        "q_values": [np.tanh(row) for row in partial],
        "num_tokens": lengths,
        "truncated": lengths == 8,
    }
    path = output.with_suffix(".parquet")
    pairs = [(f"prompt {i}", "yes", "no") for i in range(60)]
    write_scores(path, pair_table(pairs, scores, left_out))
    run_metrics(MetricsOptions(scores=path, output=output, bootstrap_resamples=200))
    return output


def pick(frame: pd.DataFrame, metric: str, at: float | None = None, **where: Any) -> Any:
    """The one row of a metric in a table of estimates, as a named tuple."""
    found = frame[frame["metric"] == metric]
    found = found[found["at"].isna() if at is None else np.isclose(found["at"], at)]
    for name, wanted in where.items():
        found = found[found[name].isna() if wanted is None else found[name].eq(wanted)]
    (row,) = found.itertuples(index=False)
    return row
