"""The study: statistics against slow loops, verdicts by hand, and a page of some of its cells."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from benchmarks.study import __main__ as study
from benchmarks.study import figure, summary, tables
from benchmarks.study.plan import CELLS, PRIMARY, SETTINGS, Comparison, Side, comparisons
from gcrm.data.ragged import Ragged
from gcrm.data.scores import ScoreTable, read_scores, write_scores
from helpers.score_rows import columns, steps_of

PROBLEMS, SAMPLES, SEEDS = 30, 4, (1, 2, 3, 4, 5)
NAN = float("nan")
KNOWS = {
    ("vanilla", "reward"): 0.6,
    ("contrastive", "reward"): 0.7,
    ("contrastive", "q_value"): 1.2,
}
KNOWS |= {("value", "reward"): 2.0}


def write_model(path: Path, variant: str, seed: int) -> None:
    """Scores of the same samples, whose steps have three tokens, that know some of the truth."""
    table = columns(PROBLEMS, SAMPLES, seed=0)
    truth, noise = np.random.default_rng(0), np.random.default_rng([len(variant), seed])
    rows: dict[str, list[Any]] = {"true_values": [], "partial_rewards": [], "q_values": []}
    for right in table["label"]:
        tokens, known = steps_of(right, truth)
        rows["true_values"].append(tokens)
        for name, score in (("partial_rewards", "reward"), ("q_values", "q_value")):
            knows = KNOWS.get((variant, score), 0.0)
            rows[name].append(np.tanh(knows * known + noise.normal(0, 1, len(tokens))))
    table |= rows | {"num_tokens": [len(row) for row in rows["true_values"]]}
    table |= {"reward": [row[-1] for row in rows["partial_rewards"]]}
    write_scores(path, ScoreTable.of("all", table))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    folder = tmp_path_factory.mktemp("scores")
    found = {}
    for variant in ("vanilla", "contrastive", "value"):
        for seed in SEEDS:
            path = found[variant, seed] = folder / f"{variant}{seed}.parquet"
            write_model(path, variant, seed)
    return found


@pytest.fixture(scope="module")
def found(files: dict[tuple[str, int], Path]) -> tables.Estimates:
    return tables.measure(files)


def slow(measure: str, table: ScoreTable, score: str, rows: np.ndarray) -> float:
    """A measure of these rows of a table."""
    if measure == "AUROC":
        parts = [rows[table.sample[rows] == k] for k in range(SAMPLES)]
        return float(np.mean([auroc(table.reward[p], table.label[p]) for p in parts]))
    column = table.partial_rewards if score == "reward" else table.q_values
    assert table.true_values is not None and isinstance(column, Ragged)
    values, scores = (
        np.concatenate([one[row] for row in rows]) for one in (table.true_values, column)
    )
    ends = ~np.isnan(values)
    return float(spearmanr(scores[ends], values[ends]).statistic)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    right, wrong = scores[labels][:, None], scores[~labels]
    return float(np.mean((right > wrong) + (right == wrong) / 2))


@pytest.mark.parametrize("comparison", comparisons(["vanilla", "contrastive", "value"])[:2])
def test_differences_and_intervals_are_those_of_slow_resampling(
    comparison: Comparison, files: dict[tuple[str, int], Path], found: tables.Estimates
) -> None:
    sides = (comparison.first, comparison.second)
    read = [[read_scores(files[side.variant, seed]) for seed in SEEDS] for side in sides]

    def changes(problems: np.ndarray) -> list[float]:
        """The difference of each seed on these problems."""
        rows = (problems[:, None] * SAMPLES + np.arange(SAMPLES)).ravel()
        first, second = (
            np.array([slow(comparison.measure, table, side.score, rows) for table in models])
            for models, side in zip(read, sides, strict=True)
        )
        return list(first - second)

    whole = changes(np.arange(PROBLEMS))
    rng, resampled = np.random.default_rng(7), []
    for _ in range(200):
        each = changes(rng.integers(0, PROBLEMS, PROBLEMS))
        resampled.append(rng.choice(each, (10, len(SEEDS) - 1)).mean(axis=1))
    low, high = np.quantile(resampled, [0.025, 0.975])

    rows = tables.table_of_differences(found, [comparison])
    assert rows["value"][1:].tolist() == pytest.approx(whole, abs=1e-6)
    mean = rows.iloc[0]
    assert mean["value"] == pytest.approx(np.mean(whole), abs=1e-6)
    assert [mean["low"], mean["high"]] == pytest.approx([low, high], abs=0.15 * (high - low))


def test_a_cell_has_the_seven_primary_comparisons() -> None:
    found = comparisons(["vanilla", "contrastive", "value"])
    primary = [one for one in found if one.question <= 4]
    assert len(primary) == 7 and PRIMARY == 98
    assert Comparison(3, "F1", Side("contrastive", "q_value"), Side("vanilla", "reward")) in primary
    assert {one.question for one in found} == {1, 2, 3, 4, 5}


def test_every_cell_of_the_plan_has_a_config() -> None:
    for cell in CELLS:
        config = study.config_of(cell)
        assert list(config.variants) == ["vanilla", "contrastive", "value"]
        assert config.seeds == [1, 2, 3, 4, 5]
    assert {one.question for one in comparisons(list(study.config_of(SETTINGS).variants))} == {7}


def row(
    value: float, low: float, high: float, p: float = 0.001, question: int = 2
) -> dict[str, Any]:
    names = {"question": question, "measure": "F1", "variant": "contrastive", "score": "q_value"}
    names |= {"baseline": "vanilla", "baseline_score": "reward", "cell": "centre", "seed": None}
    return names | {"value": value, "low": low, "high": high, "p": p}


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (row(0.06, 0.01, 0.11, 0.0002), "helps"),
        (row(0.06, 0.01, 0.11, 0.01), "not decided"),  # 98 times 0.01 is above 0.05
        (row(0.06, 0.01, 0.11, 0.01, question=5), "helps"),  # not corrected
        (row(0.04, 0.01, 0.07, 0.0002), "not decided"),  # below the threshold
        (row(0.04, 0.03, 0.05, 0.0002), "does nothing"),
        (row(0.0, -0.05, 0.05, 1), "does nothing"),
        (row(0.0, -0.06, 0.04, 1), "not decided"),
        (row(-0.08, -0.1, -0.06, 0.0002), "hurts"),
        (row(NAN, NAN, NAN, NAN), "not decided"),
    ],
)
def test_verdicts(estimate: dict[str, Any], expected: str) -> None:
    frame = pd.DataFrame([estimate]).astype({"seed": "Int64"})
    assert summary.judged(frame)["verdict"].tolist() == [expected]


def test_p_is_corrected_over_all_planned_comparisons() -> None:
    p = [0.0004, 0.0002, 0.03, 0.0003]
    frame = pd.DataFrame([row(0.06, 0.01, 0.11, one) for one in p]).astype({"seed": "Int64"})
    expected = [96 * 0.0004, 98 * 0.0002, 1, 97 * 0.0003]
    assert summary.judged(frame)["p_holm"].tolist() == pytest.approx(expected)


def test_a_part_of_the_cells_makes_a_page_and_a_figure(
    tmp_path: Path, found: tables.Estimates
) -> None:
    page, folder = tmp_path / "README.md", tmp_path / "cells"
    summary.write_page(folder, page)
    assert "Measured: nothing yet." in page.read_text()
    (folder / "noise-0.3").mkdir(parents=True)
    rows = tables.table_of_differences(found, comparisons(list(found)))
    rows.to_csv(folder / "noise-0.3/differences.csv", index=False)
    tables.table_of_estimates(found).to_csv(folder / "noise-0.3/estimates.csv", index=False)
    summary.write_page(folder, page)
    text = page.read_text()
    assert "Measured: noise-0.3." in text and "Not run yet: centre, pairs-1000," in text
    assert text.count("| label noise: 0.3 | F1 | contrastive") == 2
    figure.draw(summary.read(folder, "estimates"), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000
