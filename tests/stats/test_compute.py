"""Whole tables of metrics: intervals, the order of rows, and any scores at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gcrm
from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import Ragged, ScoreTable
from gcrm.stats.compute import compute_metrics, read_tables
from gcrm.stats.estimates import read_estimates, write_estimates
from gcrm.utils.errors import UserError
from helpers.score_rows import columns, score_file

FAST = MetricsSettings(bootstrap_resamples=50)
COUNTS = ("num_", "samples_per_problem.", "chosen_filter.threshold", "length_filter.threshold")


def test_every_estimate_but_counts_has_its_interval() -> None:
    tables = ScoreTable.of("greedy", columns()), ScoreTable.of("all", columns(per_problem=4))
    found = compute_metrics(*tables, settings=FAST)
    assert len(found) > 200 and found["value"].notna().all()
    counts = found["metric"].str.startswith(COUNTS)
    assert found.loc[counts, ["low", "high"]].isna().all(axis=None)
    others = found[~counts]
    assert ((others["low"] <= others["value"]) & (others["value"] <= others["high"])).all()
    assert (found["n"] > 0).all()
    assert set(found["metric"][found["p"].notna()]) == {
        *("filtered.change", "filtered.correct_change", "chosen_filter.change"),
        *("length_filter.change", "official.filtered.change", "official.filtered.correct_change"),
    }


def test_the_order_of_rows_changes_no_value_and_no_interval() -> None:
    made, found = columns(40, 4), []
    for order in (np.arange(160), np.random.default_rng(5).permutation(160)):
        samples = {name: [values[i] for i in order] for name, values in made.items()}
        greedy = {name: [v[i] for i in order if i % 4 == 0] for name, v in made.items()}
        tables = ScoreTable.of("greedy", greedy), ScoreTable.of("all", samples)
        found.append(compute_metrics(*tables, settings=FAST))
    pd.testing.assert_frame_equal(*found, check_exact=False, rtol=1e-9)


def test_the_public_names_are_the_functions_of_this_package(tmp_path: Path) -> None:
    table = gcrm.read_scores(score_file(tmp_path / "s.parquet"))
    found = gcrm.compute_metrics(table)
    pd.testing.assert_frame_equal(found, compute_metrics(table))
    assert set(gcrm.compare({("a", 0): [table], ("b", 0): [table]})["variant"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["all"], "its split is 'all'; expected greedy or pairs in --scores"),
        (["greedy", "greedy"], "its split is 'greedy'; expected all in --sample_scores"),
        (["pairs", "all"], "--sample_scores goes with greedy solutions in --scores, not with"),
    ],
)
def test_tables_of_another_split_are_refused(splits: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_tables([ScoreTable.of(split, columns(2)) for split in splits])


row_of_scores = st.tuples(
    st.integers(0, 4),
    st.sampled_from([None, "", "1", "1.0", "$1", "2", "a sentence of words", "['1', '2']"]),
    st.booleans(),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9),
    st.floats(-(2.0**100), 2.0**100, width=32),
)
rows_of_scores = st.lists(row_of_scores, min_size=1, max_size=10)


def table_of(
    rows: list[tuple[int, str | None, bool, list[float], float]], split: Any
) -> ScoreTable:
    number, answer, correct, values, reward = zip(*rows, strict=True)
    partial = [[*one[:-1], last] for one, last in zip(values, reward, strict=True)]
    made = {
        "prompt": [f"question {n}" for n in number],
        "label": correct,
        "sample": np.arange(len(rows)),
        "reward": reward,
        "num_tokens": [len(one) for one in values],
        "truncated": np.zeros(len(rows), bool),
        "predicted_answer": answer,
        "partial_rewards": Ragged.of(partial),
        "q_values": Ragged.of(values),
    }
    return ScoreTable.of(split, made)


@given(greedy=rows_of_scores, samples=st.none() | rows_of_scores, threshold=st.floats(-1, 1))
@settings(max_examples=30)
def test_any_scores_have_metrics(
    tmp_path_factory: pytest.TempPathFactory, greedy: Any, samples: Any, threshold: float
) -> None:
    """One row, one class, no answer, problems of one file only: numbers, or null with a reason."""
    options = MetricsSettings(bootstrap_resamples=20, filter_threshold=threshold)
    tables = [table_of(greedy, "greedy")]
    tables += [] if samples is None else [table_of(samples, "all")]
    found = compute_metrics(*tables, settings=options, benchmark="b")
    path = tmp_path_factory.getbasetemp() / "any.json"
    write_estimates(path, found)
    pd.testing.assert_frame_equal(read_estimates(path), found)
    assert found["reason"].notna().eq(found["value"].isna()).all()
    shares = r"correct|(partial_)?auroc\.\w+(?<!er)(?<!_length)|pass@.|.*majority@n|.*tokens_saved"
    between = found[found["metric"].str.fullmatch(shares) & found["value"].notna()]
    assert between["value"].between(0, 1).all()
    assert not found.duplicated(["split", "metric", "at"]).any()
