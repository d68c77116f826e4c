"""The tables of a report against literal rows, the header first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame

from gcrm.reporting.columns import OFFICIAL_VOTES, Numbers
from gcrm.reporting.kinds import TABLES
from gcrm.reporting.means import means_table, variants_table
from gcrm.reporting.published import Published, PublishedNumber
from gcrm.reporting.results import Results, with_holm
from gcrm.reporting.tables import (
    by_variant,
    compact,
    details_table,
    differences_table,
    every_seed,
    filter_table,
    half_table,
    partial_table,
    seed_differences_table,
    side_by_side,
    top_k_table,
)
from gcrm.stats.estimates import estimates_frame
from helpers.estimates import estimates

PAPER = {"base_model": "org/base", "source": "paper, table 1", "model": "theirs"}


def results(rows: Sequence[dict[str, Any]], differences: Sequence[dict[str, Any]] = ()) -> Results:
    return Results(
        with_holm(estimates_frame(rows)),
        with_holm(estimates_frame(differences, "compare")),
    )


def listed(table: DataFrame) -> list[list[str]]:
    return [list(table.columns), *(list(row) for row in table.itertuples(index=False))]


def of(benchmark: str, variant: str, *, above: bool = False, **numbers: Any) -> list[Any]:
    """AUROC and length; `above`: the reward is better than length in both directions."""
    end = 0.01 if above else -0.01
    gaps = {f"auroc.reward_minus_{length}": (0.1, end, 0.2) for length in ("length", "longer")}
    found = {"num_completions": 40, "correct": (0.5, 0.4, 0.6), "auroc.length": (0.5, 0.4, 0.6)}
    return estimates(found | gaps | numbers, variant=variant, benchmark=benchmark)


REWARD = {"auroc.reward": (0.7, 0.6, 0.8)}


def test_variants_side_by_side_with_length() -> None:
    """Also with a variant named like a column, and without AUROC."""
    rows = of("math", "n", **REWARD) + of("math", "new", above=True, **REWARD)
    rows += of("mawps", "n", **{"auroc.reward": None, "auroc.length": None})
    found = results(rows)
    assert listed(side_by_side(found, "greedy")) == [
        ["benchmark", "n", "correct %", "length alone", "n", "new"],
        [
            *("math", "40", "50.0", "0.500 [0.400, 0.600]"),
            *("0.700 [0.600, 0.800]", "0.700 [0.600, 0.800] *"),
        ],
        ["mawps", "40", "50.0", "–", "–", "–"],
    ]
    assert listed(compact(found, "greedy", ["mawps", "math"])) == [
        ["variant", "mawps", "math"],
        ["length alone", "–", "0.500"],
        ["n", "–", "0.700"],
        ["new", "–", "0.700 *"],
    ]


def test_published_numbers_are_shown_for_their_benchmarks_only() -> None:
    numbers = [
        PublishedNumber(**PAPER, benchmark="gsm8k", measure="auroc", value=0.81),
        PublishedNumber(**PAPER, benchmark="gsm8k", measure="majority", value=0.846),
    ]
    rows = of("gsm8k", "ours", **REWARD) + of("math", "ours", **REWARD)
    votes = {"official.majority@n": 0.8, "majority@n": 0.7}
    rows += estimates(votes, variant="ours", benchmark="gsm8k", split="all")
    given = Numbers(results(rows), Published(numbers))
    head, gsm8k, math = listed(TABLES["auroc"].cells(given))
    assert head[-2:] == ["ours", "theirs (published)"]
    assert gsm8k[-2:] == ["0.700 [0.600, 0.800]", "0.81"]
    assert math[-1] == "–"
    [theirs] = TABLES["auroc"].rows(given).tail(1).to_dict("records")
    assert (theirs["variant"], theirs["value"]) == ("theirs (published)", 0.81)
    assert theirs["published_in"] == "paper, table 1"
    # Published votes are in the table of votes as the authors count.
    _, ours, published = listed(by_variant(given.results, "all", OFFICIAL_VOTES, given.published))
    assert ours[:3] == ["gsm8k", "ours", "80.0"]
    assert published[:3] == ["gsm8k", "theirs (published)", "84.6"]
    assert "84.6" not in str(listed(TABLES["votes"].cells(given)))
    other = Numbers(results(of("math", "ours", **REWARD)), Published(numbers))
    assert list(TABLES["auroc"].cells(other).columns)[-1] == "ours"


def test_every_seed_is_shown() -> None:
    rows = [row for seed in (0, 10, 9) for row in estimates(REWARD, variant="new", seed=seed)]
    rows += estimates({"auroc.reward": 0.65}, variant="new", seed=None)
    assert listed(every_seed(results(rows + estimates(REWARD)))) == [
        ["variant", "seed", "b"],
        *(["new", seed, "0.700 [0.600, 0.800]"] for seed in ("0", "9", "10")),
    ]
    assert every_seed(results(estimates(REWARD))).empty


def test_partial_solutions() -> None:
    score = "partial_auroc.q_value"
    numbers = {f"{score} at 0.5": (0.7, 0.6, 0.8), f"{score} at 1": 0.8, "auroc.length": 0.4}
    numbers |= {f"{score}_minus_{gap} at 0.5": (0.1, 0.01, 0.2) for gap in ("length", "longer")}
    found = results(estimates(numbers))
    assert listed(half_table(found)) == [
        ["benchmark", "variant", "length alone, at the end", "reward so far", "Q-value"],
        ["b", "v", "0.400", "–", "0.700 [0.600, 0.800] *"],
    ]
    assert listed(partial_table(found)) == [
        ["benchmark", "score", "variant", "0.5", "1"],
        ["b", "Q-values", "v", "0.700", "0.800"],
    ]
    assert half_table(results(estimates({f"{score} at 1": 0.8}))).empty


def test_means_over_benchmarks_side_by_side() -> None:
    rows = []
    for benchmark, value in (("gsm8k", 0.6), ("math", 0.7), ("svamp", 0.8)):
        numbers = {
            "auroc.reward": (value, value - 0.1, value + 0.1),
            "correlation.pearson at 0.2": value,
            "num_problems": 100,
        }
        rows += estimates(numbers, benchmark=benchmark)
    votes = {
        "num_problems": 100,
        "majority@n": 0.5,
        "filtered.majority@n at 0": 0.4,
        "filtered.tokens_saved at 0": 0.1,
    }
    rows += estimates(votes, benchmark="gsm8k", split="all")
    given = Numbers(results(rows), in_distribution=["gsm8k", "math"])
    head, row = listed(variants_table(given))
    assert head == [
        *("variant", "AUROC in distribution", "AUROC out of distribution", "corr. at 0.2"),
        *("majority", "Q-filtered", "tokens saved"),
    ]
    assert row == [
        "v",
        "0.650 [0.579, 0.721]",
        "0.800 [0.700, 0.900]",
        "0.70",
        "50.0",
        "40.0",
        "10.0",
    ]
    head, row = listed(variants_table(Numbers(given.results)))
    assert head[1:3] == ["AUROC", "corr. at 0.2"] and row[1].startswith("0.700 [")


def test_means_have_rows_of_groups_weights_and_differences() -> None:
    rows, minus = [], []
    sizes = {"gsm8k": 300, "math": 100, "svamp": 50}
    for benchmark, value in (("gsm8k", 0.6), ("math", 0.7), ("svamp", 0.8)):
        where = {"benchmark": benchmark}
        for variant in ("old", "new"):
            numbers = {"num_problems": sizes[benchmark], "auroc.reward": (value, value - 0.1, 0.9)}
            rows += estimates(numbers, variant=variant, **where)
        gap = {"auroc.reward": (value / 10, value / 10 - 0.04, value / 10 + 0.04)}
        minus += estimates(gap, variant="new", baseline="old", seed=None, p=0.03, **where)
    votes = {"num_problems": 300, "rm_best@n": (0.5, 0.4, 0.6)}
    rows += estimates(votes, variant="new", benchmark="gsm8k", split="all")
    found = listed(means_table(Numbers(results(rows, minus), in_distribution=["gsm8k", "math"])))
    inside, outside = "in distribution", "out of distribution"
    mean = (3 * 0.6 + 0.7) / 4
    low = mean - np.sqrt(10) / 40
    high = mean + np.sqrt(0.9**2 + 0.2**2) / 4
    assert found[:4] == [
        ["benchmarks", "weights", "variant", "baseline", "AUROC", "vote: best of n"],
        [inside, "equal", "old", "–", "0.650 [0.579, 0.830]", "–"],
        [inside, "equal", "new", "–", "0.650 [0.579, 0.830]", "50.0 [40.0, 60.0]"],
        [inside, "equal", "new", "old", "+0.065 [0.037, 0.093], p <0.001", "–"],
    ]
    assert found[4] == [inside, "problems", "old", "–", f"{mean:.3f} [{low:.3f}, {high:.3f}]", "–"]
    assert found[6][:5] == [inside, "problems", "new", "old", "+0.062 [0.031, 0.094], p <0.001"]
    assert found[9][:5] == [outside, "equal", "new", "old", "+0.080 [0.040, 0.120], p = 0.030"]


def test_without_a_value_on_every_benchmark_there_is_no_mean() -> None:
    rows = estimates({"num_problems": 3, "auroc.reward": None})
    assert means_table(Numbers(results(rows))).empty


def test_the_best_samples_have_rows_of_measures_and_differences() -> None:
    numbers = {"top_k.majority at 1": (0.5, 0.4, 0.6), "top_k.majority at 5": 0.7}
    numbers |= {"top_k.correct at 1": 0.5, "top_k.correct at 25": None}
    rows = [row for v in ("old", "new") for row in estimates(numbers, variant=v, split="all")]
    gap = {"top_k.majority at 1": (0.02, -0.01, 0.04)}
    minus = estimates(gap, variant="new", baseline="old", seed=None, split="all", p=0.2)
    assert listed(top_k_table(results(rows, minus))) == [
        ["benchmark", "measure", "variant", "baseline", "K = 1", "K = 5"],
        ["b", "vote", "old", "–", "50.0 [40.0, 60.0]", "70.0"],
        ["b", "vote", "new", "–", "50.0 [40.0, 60.0]", "70.0"],
        ["b", "vote", "new", "old", "+2.0 [-1.0, 4.0], p = 0.200", "–"],
        ["b", "correct samples", "old", "–", "50.0", "–"],
        ["b", "correct samples", "new", "–", "50.0", "–"],
    ]


def test_effect_of_filters_and_of_the_length_control() -> None:
    numbers = {
        "filtered.change at 0.25": (-0.034, -0.05, 0.01),
        "filtered.tokens_saved at 0.25": 0.1,
        "filtered.correct_before at 0.25": 0.5,
        "chosen_filter.change": (0.02, -0.01, 0.05),
        "length_filter.change": 0.0,
        "length_filter.tokens_saved": 0.3,
        "majority@n": 0.6,
    }
    rows = []
    for variant in ("old", "new"):
        rows += estimates(numbers, variant=variant, split="all", p=0.04)
    assert listed(filter_table(results(rows)))[:4] == [
        [
            *("benchmark", "filter", "threshold", "correct votes: change", "tokens saved"),
            *("samples dropped", "correct samples before", "correct samples after"),
        ],
        ["b", "old", "0.25", "-3.4 [-5.0, 1.0], p = 0.040", "10.0", "–", "50.0", "–"],
        ["b", "old", "chosen", "+2.0 [-1.0, 5.0], p = 0.040", "–", "–", "–", "–"],
        ["b", "new", "0.25", "-3.4 [-5.0, 1.0], p = 0.040", "10.0", "–", "50.0", "–"],
    ]
    assert listed(filter_table(results(rows)))[5:] == [
        ["b", "length alone", "chosen", "0.0, p = 0.040", "30.0", "–", "–", "–"]
    ]


DIFFERENCES = [
    row
    for benchmark, variant, value, p in (
        ("gsm8k", "new", 0.05, 0.01),
        ("gsm8k", "other", 0.0, 1.0),
        ("math", "new", -0.01, 0.0001),
        ("svamp", "new", None, None),
    )
    for row in estimates(
        {"auroc.reward": None if value is None else (value, value - 0.02, value + 0.02)},
        variant=variant,
        baseline="old",
        benchmark=benchmark,
        seed=None,
        p=p,
    )
]


def compared(*more: dict[str, Any]) -> Results:
    names = ("gsm8k", "math", "svamp")
    variants = ("old", "new", "other")
    metrics = [row for v in variants for name in names for row in of(name, v, **REWARD)]
    metrics += estimates({"majority@n": 0.5}, benchmark="gsm8k", split="all")
    return results(metrics, [*DIFFERENCES, *more])


def test_differences_have_a_row_for_each_benchmark_and_pair() -> None:
    assert listed(differences_table(compared(), "greedy")) == [
        ["benchmark", "variant", "baseline", "reward"],
        ["gsm8k", "new", "old", "+0.050 [0.030, 0.070], p = 0.010"],
        ["gsm8k", "other", "old", "0.000 [-0.020, 0.020], p = 1.000"],
        ["math", "new", "old", "-0.010 [-0.030, 0.010], p <0.001"],
    ]
    where = {"variant": "new", "baseline": "old", "benchmark": "gsm8k", "seed": None}
    votes = estimates({"rm_best@n": (-0.034, -0.054, -0.014)}, split="all", p=0.2, **where)
    assert listed(differences_table(compared(*votes), "all")) == [
        ["benchmark", "variant", "baseline", "best of n"],
        ["gsm8k", "new", "old", "-3.4 [-5.4, -1.4], p = 0.200"],
    ]
    csv = TABLES["vote_differences"].rows(Numbers(compared(*votes)))
    assert list(csv["metric"]) == ["rm_best@n"]
    assert list(TABLES["differences"].rows(Numbers(compared(*votes)))["value"]) == [0.05, 0, -0.01]


def test_differences_of_every_seed() -> None:
    seeds = [
        row
        for seed, value in ((0, 0.04), (1, 0.0))
        for row in estimates(
            {"auroc.reward": value}, seed=seed, variant="new", baseline="old", benchmark="gsm8k"
        )
    ]
    assert listed(seed_differences_table(compared(*seeds))) == [
        ["benchmark", "variant", "baseline", "seed 0", "seed 1"],
        ["gsm8k", "new", "old", "+0.040", "0.000"],
    ]
    assert seed_differences_table(compared()).empty


def test_differences_without_pairs_have_only_a_header() -> None:
    alone = results(of("math", "v", **REWARD))
    assert listed(differences_table(alone, "greedy")) == [["benchmark", "variant", "baseline"]]


@pytest.mark.parametrize(("second", "ties"), [(3, "3"), (4, "3, 4")])
def test_counts_of_seeds_are_listed_if_they_differ(second: int, ties: str) -> None:
    rows = []
    for seed, count in enumerate((3, second)):
        counts = {"num_ties": count, "num_truncated": 2, "num_left_out": 0}
        rows += estimates(counts, split="pairs", seed=seed)
    average = {"pairwise_accuracy.reward": (0.6, 0.5, 0.7), "margin": 0.25, "num_ties": 3.5}
    rows += estimates(average, split="pairs", seed=None)
    [head, row] = listed(details_table(results(rows)))
    assert head[:3] == ["held-out set", "variant", "reward"]
    assert row[:3] == ["b", "v", "60.0 [50.0, 70.0]"]
    assert row[-4:] == ["0.250", ties, "2", "0"]
