"""Metrics of a model, and variants compared: against slow resampling, and any scores at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import gcrm
from gcrm.config.metrics import MetricsSettings
from gcrm.data.questions import question_key
from gcrm.data.ragged import Ragged
from gcrm.data.scores import ScoreTable
from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.compute import Model, compare_models, compute_metrics, read_tables
from gcrm.stats.estimates import read_estimates, write_estimates
from gcrm.stats.seeds import draw_weights
from gcrm.utils.errors import UserError
from helpers.score_rows import columns, pair_table, pick, score_file

RESAMPLES = 60
FAST = MetricsSettings(bootstrap_resamples=RESAMPLES, top_k=[1, 3])
COUNTS = ("num_", "samples_per_problem.", "chosen_filter.threshold", "length_filter.threshold")
KEY = ["split", "metric", "at"]
VALUES = ["value", "low", "high", "n"]
FILTERS = ("filtered", "chosen_filter")
SCORES = ("reward", "q_value")


# --- metrics of a model ---


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
    assert set(gcrm.compare_models({("a", 0): [table], ("b", 0): [table]})["variant"]) == {"a", "b"}


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
        read_tables([ScoreTable.of(split, columns(2)) for split in splits], FAST)


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


# --- variants compared ---


def scores(model: int, per_problem: int = 1, **change: Any) -> ScoreTable:
    """The same completions to 30 problems, scored by the model of this number."""
    first, generator = columns(30, per_problem), np.random.default_rng(model)

    def shaken(rows: list[Any]) -> list[Any]:
        return [row + generator.normal(0, 0.7, len(row)).astype(np.float32) for row in rows]

    partial = shaken(first["partial_rewards"])
    first |= {"partial_rewards": partial, "reward": [row[-1] for row in partial]}
    first["q_values"] = [np.tanh(row) for row in shaken(first["q_values"])]
    return ScoreTable.of("greedy" if per_problem == 1 else "all", first | change)


MODELS: list[Model] = [("vanilla", 0), ("vanilla", 1), ("contrastive", 0), ("contrastive", 1)]


def tables(models: Sequence[Model]) -> dict[Model, list[ScoreTable]]:
    numbers = {model: number for number, model in enumerate(MODELS, start=1)}
    return {model: [scores(numbers[model]), scores(numbers[model], 5)] for model in models}


@pytest.fixture(scope="module")
def one_seed() -> pd.DataFrame:
    return compare_models(tables([("vanilla", 0), ("contrastive", 0)]), FAST, benchmark="gsm8k")


@pytest.fixture(scope="module")
def two_seeds() -> pd.DataFrame:
    return compare_models(tables(MODELS), FAST)


def averages(found: pd.DataFrame, variant: str) -> pd.DataFrame:
    own = found["variant"].eq(variant) & found["baseline"].isna() & found["seed"].isna()
    return found[own].set_index(KEY).sort_index()


def differences(found: pd.DataFrame) -> pd.DataFrame:
    return found[found["baseline"].notna()]


def expected_of(*own: ScoreTable, options: MetricsSettings = FAST) -> pd.DataFrame:
    return compute_metrics(*own, settings=options).set_index(KEY).sort_index()


def test_with_one_seed_averages_equal_the_metrics(one_seed: pd.DataFrame) -> None:
    assert one_seed["seed"].isna().all() and set(one_seed["benchmark"]) == {"gsm8k"}
    for variant in ("vanilla", "contrastive"):
        expected = expected_of(*tables([(variant, 0)])[variant, 0])
        mine = averages(one_seed, variant)
        assert mine.index.equals(expected.index)
        pd.testing.assert_frame_equal(mine[VALUES], expected[VALUES])
        # The p of a change is that of the resamples, which can take seeds in.
        assert mine["p"].notna().equals(expected["p"].notna())


def test_differences_subtract_values_and_have_paired_intervals(one_seed: pd.DataFrame) -> None:
    found = differences(one_seed).set_index(KEY)
    assert set(found["variant"]) == {"contrastive"} and set(found["baseline"]) == {"vanilla"}
    filters = [f"{by}.{of}" for by in FILTERS for of in ("majority@n", "tokens_saved")]
    assert set(found.index.get_level_values("metric")) == {
        *("auroc.reward", "partial_auroc.reward", "partial_auroc.q_value", *filters),
        *("rm_majority@n", "rm_best@n", "top_k.majority", "top_k.correct"),
        *(f"{kind}pairwise_accuracy.{by}" for kind in ("", "pooled_") for by in SCORES),
        *(f"partial_auroc_over_problems.{by}" for by in SCORES),
        "auroc_over_problems.reward",
    }
    first, second = (averages(one_seed, name)["value"] for name in ("contrastive", "vanilla"))
    expected = (first - second).loc[found.index]
    assert found["value"].to_numpy() == pytest.approx(expected.to_numpy())
    assert ((found["low"] <= found["value"]) & (found["value"] <= found["high"])).all()
    assert found["p"].between(0, 1, inclusive="right").all()


def resampled_difference(first: ScoreTable, second: ScoreTable) -> np.ndarray:
    """Difference of the AUROC of the reward in each resample, from its rows."""
    by_question = np.argsort([question_key(text) for text in columns(30)["prompt"]])
    counts = np.concatenate(list(Bootstrap(np.arange(30), RESAMPLES, seed=0).counts()), axis=1).T
    drawn = [np.repeat(by_question, count.astype(int)) for count in counts]
    by_model = [
        [roc_auc_score(table.label[rows], table.reward[rows]) for rows in drawn]
        for table in (first, second)
    ]
    return np.subtract(*by_model)


def test_intervals_match_slow_resampling_of_rows(one_seed: pd.DataFrame) -> None:
    replicates = resampled_difference(scores(3), scores(1))
    row = pick(differences(one_seed), "auroc.reward")
    assert (row.low, row.high) == pytest.approx(np.quantile(replicates, [0.025, 0.975]))
    rarer = min(sum(replicates <= 0), sum(replicates >= 0))
    assert row.p == pytest.approx(min(1, 2 * (1 + rarer) / (1 + RESAMPLES)))


def test_several_seeds_are_resampled_with_the_problems(two_seeds: pd.DataFrame) -> None:
    replicates = [resampled_difference(scores(3 + seed), scores(1 + seed)) for seed in (0, 1)]
    found = differences(two_seeds)
    row = pick(found, "auroc.reward", seed=None)
    values = [pick(found, "auroc.reward", seed=seed).value for seed in (0, 1)]
    for seed, value in enumerate(values):
        alone = differences(
            compare_models(tables([("vanilla", seed), ("contrastive", seed)]), FAST)
        )
        assert value == pytest.approx(pick(alone, "auroc.reward").value)
    assert row.value == pytest.approx(np.mean(values))
    drawn = (draw_weights(2, RESAMPLES, seed=0) * replicates).sum(axis=0)
    assert (row.low, row.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_every_metric_is_averaged_over_seeds(two_seeds: pd.DataFrame) -> None:
    """All but the filter's curve, whose thresholds differ between models."""
    each = [expected_of(*own) for own in tables(MODELS[:2]).values()]
    each = [e[~e.index.get_level_values("metric").str.startswith("filter_curve.")] for e in each]
    mine = averages(two_seeds, "vanilla")
    assert mine.index.equals(each[0].index)
    expected = (each[0]["value"] + each[1]["value"]) / 2
    assert mine["value"].to_numpy() == pytest.approx(expected.to_numpy())
    own = two_seeds[two_seeds["variant"].eq("vanilla") & two_seeds["seed"].notna()]
    for seed in (0, 1):
        found = own[own["seed"].eq(seed)].set_index(KEY).sort_index()
        assert found.index.equals(each[seed].index)
        assert found["value"].to_numpy() == pytest.approx(each[seed]["value"].to_numpy())
        assert found[["low", "high", "p"]].isna().all(axis=None)


def test_changes_by_a_filter_have_a_p_over_problems_and_seeds(two_seeds: pd.DataFrame) -> None:
    found = averages(two_seeds, "contrastive").reset_index()
    for name, at in (("filtered.change", 0), ("chosen_filter.change", None)):
        row = pick(found, name, at)
        assert row.low <= row.value <= row.high
        assert row.p >= 0.05 or row.low > 0 or row.high < 0


def test_the_order_of_rows_does_not_matter(one_seed: pd.DataFrame) -> None:
    models = tables([("vanilla", 0), ("contrastive", 0)])
    generator = np.random.default_rng(0)
    models["contrastive", 0] = [
        table.take(generator.permutation(len(table))) for table in models["contrastive", 0]
    ]
    pd.testing.assert_frame_equal(compare_models(models, FAST, benchmark="gsm8k"), one_seed)


def test_the_same_scores_do_not_differ() -> None:
    found = differences(compare_models({(name, 0): [scores(1)] for name in "ab"}, FAST))
    assert len(found) == 23
    assert (found[["value", "low", "high"]] == 0).all(axis=None) and (found["p"] == 1).all()


def test_pairs_of_variants_can_be_chosen() -> None:
    models = {(name, 0): [scores(number)] for number, name in enumerate("abc")}

    def asked(**options: Any) -> pd.DataFrame:
        return differences(compare_models(models, FAST, **options))

    def pairs(found: pd.DataFrame) -> list[Any]:
        return found[["variant", "baseline"]].drop_duplicates().to_numpy().tolist()

    assert pairs(asked()) == [["b", "a"], ["c", "a"]]
    assert pairs(asked(baseline="b")) == [["a", "b"], ["c", "b"]]
    found = asked(pairs=["c:b", "b:c"])
    assert pairs(found) == [["c", "b"], ["b", "c"]]
    there, back = (pick(found, "auroc.reward", variant=name) for name in "cb")
    assert there.value == -back.value and there.p == back.p
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    with pytest.raises(ValueError, match="there is no variant 'z'; there are a, b, c"):
        asked(baseline="z")


def test_one_variant_alone_has_intervals_over_its_seeds_and_no_differences() -> None:
    found = compare_models(tables([("vanilla", 0), ("vanilla", 1)]), FAST)
    assert differences(found).empty
    assert pick(found, "auroc.reward", seed=None).low < pick(found, "auroc.reward", seed=None).high


def test_a_missing_number_has_a_reason() -> None:
    without = [scores(1, q_values=None), scores(1, 3, q_values=None)]
    found = compare_models({("a", 0): without, ("b", 0): [scores(1), scores(1, 3)]}, FAST)
    for name in (
        *("partial_auroc.q_value", "pairwise_accuracy.q_value"),
        *("filtered.majority@n", "chosen_filter.tokens_saved"),
    ):
        row = pick(differences(found), name)
        assert np.isnan(row.value) and np.isnan(row.p) and "there are no Q-values" in row.reason
    mine = averages(found, "a").reset_index()
    assert "no Q-values" in pick(mine, "partial_auroc.q_value_minus_longer").reason
    for name in ("auroc.reward", "rm_best@n"):
        assert pick(differences(found), name).value == 0


def test_the_settings_of_metrics_hold_here_too() -> None:
    settings = MetricsSettings(bootstrap_resamples=20, percentiles=[0.3], filter_threshold=-1)
    found = averages(compare_models(tables([("vanilla", 0)]), settings), "vanilla").reset_index()
    assert found["at"][found["metric"] == "partial_auroc.q_value"].tolist() == [0.3]
    assert pick(found, "filtered.tokens_saved", -1).value == 0


def test_models_with_other_rows_or_splits_are_refused() -> None:
    fewer = scores(1).take(np.arange(29))
    with pytest.raises(UserError, match="b, seed 0: scores other completions than a, seed 0: 1 of"):
        compare_models({("a", 0): [scores(1)], ("b", 0): [fewer]}, FAST)
    with pytest.raises(
        UserError, match=r"b, seed 0: splits \['pairs'\], where the other models have"
    ):
        compare_models({("a", 0): [scores(1)], ("b", 0): [pairs("b", 0)]}, FAST)


# --- pairs ---

PAIRS = [(f"prompt {i // 2}", f"yes {i % 7}", f"no {i}") for i in range(60)]


def pairs(variant: str, seed: int, chosen: Sequence[Any] = PAIRS, left_out: int = 0) -> ScoreTable:
    """Made scores of a model; a pair has the same scores wherever it stands."""
    number, partial = sum(map(ord, variant)) + seed, []
    for pair in chosen:
        generator = np.random.default_rng([number, PAIRS.index(pair)])
        partial += [generator.normal(lift, 1, generator.integers(1, 6)) for lift in (0.5, 0)]
    made: dict[str, Any] = {
        "reward": [row[-1] for row in partial],
        "partial_rewards": partial,
        "q_values": [np.tanh(row) for row in partial],
        "num_tokens": [len(row) for row in partial],
        "truncated": np.zeros(len(partial), bool),
    }
    return pair_table(chosen, made, left_out)


def right_of(table: ScoreTable) -> np.ndarray:
    """Which pairs have the higher reward on the chosen side."""
    return (table.reward[::2] > table.reward[1::2]).astype(float)


def test_a_difference_on_pairs_is_paired_over_prompts() -> None:
    vanilla, contrastive = pairs("vanilla", 0), pairs("contrastive", 0)
    options = MetricsSettings(bootstrap_resamples=4000)
    found = compare_models({("vanilla", 0): [vanilla], ("contrastive", 0): [contrastive]}, options)
    row = pick(differences(found), "pairwise_accuracy.reward")
    gap = right_of(contrastive) - right_of(vanilla)
    assert (row.value, row.n) == (pytest.approx(gap.mean()), 60)
    drawn = np.random.default_rng(0).integers(0, 30, (4000, 30))  # prompts, of two pairs each
    means = gap.reshape(30, 2).mean(axis=1)[drawn].mean(axis=1)
    assert (row.low, row.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    scored = [f"{part}pairwise_accuracy" for part in ("", "partial_")]
    assert set(differences(found)["metric"]) == {
        *(f"{kind}.{by}" for kind in scored for by in ("reward", "q_value")),
        "margin",  # and no number of the length
    }
    expected = expected_of(contrastive, options=options)
    pd.testing.assert_frame_equal(averages(found, "contrastive")[VALUES], expected[VALUES])


def test_differences_on_pairs_are_averaged_over_seeds() -> None:
    models = {(name, seed): pairs(name, seed) for name in ("a", "b") for seed in (0, 1, 2)}
    found = differences(compare_models({model: [table] for model, table in models.items()}, FAST))
    gaps = [right_of(models["b", k]).mean() - right_of(models["a", k]).mean() for k in range(3)]
    for seed, gap in enumerate(gaps):
        assert pick(found, "pairwise_accuracy.reward", seed=seed).value == pytest.approx(gap)
    mean = pick(found, "pairwise_accuracy.reward", seed=None)
    assert mean.value == pytest.approx(np.mean(gaps))


def test_pairs_are_matched_by_their_texts_and_left_out_for_all() -> None:
    shuffled = [PAIRS[i] for i in np.random.default_rng(0).permutation(58)]
    vanilla, contrastive = pairs("vanilla", 0, shuffled, left_out=2), pairs("contrastive", 0)
    found = compare_models({("contrastive", 0): [contrastive], ("vanilla", 0): [vanilla]}, FAST)
    row = pick(differences(found), "pairwise_accuracy.reward")
    gap = right_of(pairs("vanilla", 0))[:58] - right_of(contrastive)[:58]
    assert (row.value, row.n) == (pytest.approx(gap.mean()), 58)
    for name in ("vanilla", "contrastive"):
        assert pick(averages(found, name).reset_index(), "num_left_out").value == 2
