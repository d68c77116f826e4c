"""The cells of the tables of a report: pivots of tidy estimates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pandas import DataFrame, concat

from gcrm.reporting.columns import (
    AUROC,
    LENGTH,
    NOTHING,
    PREFERENCE,
    VOTES,
    Column,
    cells,
    pivot,
    titles_of,
    with_differences,
)
from gcrm.reporting.formats import NONE, number
from gcrm.reporting.published import Published
from gcrm.reporting.results import Results
from gcrm.stats.goals import MEASURES, over_draws

FILTERED = [
    Column("correct votes: change", "change", percent=True, signed=True),
    Column("tokens saved", "tokens_saved", percent=True),
    Column("samples dropped", "samples_dropped", percent=True),
    Column("correct samples before", "correct_before", percent=True),
    Column("correct samples after", "correct_after", percent=True),
]
OF_SAMPLES = [
    Column(f"{title} [over {units}]", metric.format(units), at)
    for title, metric, at in (
        ("reward", "auroc_over_{}.reward", None),
        ("reward, half the tokens", "partial_auroc_over_{}.reward", 0.5),
        ("Q-value, half the tokens", "partial_auroc_over_{}.q_value", 0.5),
    )
    for units in ("problems", "samples")
]
COUPLES = [
    Column("reward, mean over problems", "pairwise_accuracy.reward", percent=True, star=True),
    Column(
        "reward",
        "pooled_pairwise_accuracy.reward",
        percent=True,
        star=True,
        measure="pairwise accuracy",
    ),
    Column("Q-value", "pooled_pairwise_accuracy.q_value", percent=True, star=True),
    Column("shorter is better", "pooled_pairwise_accuracy.length", percent=True),
]
TOP_K = {"vote": "top_k.majority", "correct samples": "top_k.correct"}
DIFFERENCES = {
    "greedy": [
        Column("reward", "auroc.reward", signed=True),
        Column("reward, half the tokens", "partial_auroc.reward", 0.5, signed=True),
        Column("Q-value, half the tokens", "partial_auroc.q_value", 0.5, signed=True),
        Column("Q-value, last token", "partial_auroc.q_value", 1, signed=True),
    ],
    "all": [replace(VOTES[i], signed=True) for i in (2, 4, 5, 6, 7)],
    "pairs": [
        Column(title, metric, at, percent=True, signed=True)
        for title, metric, at in (
            ("reward", "pairwise_accuracy.reward", None),
            ("reward, half the tokens", "partial_pairwise_accuracy.reward", 0.5),
            ("Q-value, half the tokens", "partial_pairwise_accuracy.q_value", 0.5),
            ("Q-value, last token", "pairwise_accuracy.q_value", None),
        )
    ],
}
"""columns of the tables of differences by split; columns without estimates are left out"""
OF_GOALS = ["benchmark", "variant", "kind", "examples"]
GOAL_TITLES = {
    "correct_kept": "correct among the kept",
    "dropped": "dropped",
    "auroc": "AUROC, last Q-value",
    "auroc_lowest": "AUROC, smallest Q-value",
}


def side_by_side(results: Results, split: str, published: Published = NOTHING) -> DataFrame:
    """Benchmark × variant: AUROC (held-out sets: preference accuracy) of rewards and of length.

    Published numbers are in separate columns.
    """
    if split == "pairs":
        score, name, length = PREFERENCE, "held-out set", "shorter is better"
        first = [Column("pairs", "num_pairs", digits=0)]
    else:
        score, name, length = AUROC, "benchmark", LENGTH
        first = [
            Column("n", "num_completions", digits=0),
            Column("correct %", "correct", percent=True, interval=False),
        ]
    alone = score.metric.replace("reward", "length")
    first.append(replace(score, title=length, metric=alone, star=False))
    rows, names = results.rows(split), results.benchmarks(split)
    scores = concat([cells(rows, [score]), published.cells([score], names)])
    scores = scores.assign(title="variant " + scores["variant"])  # a variant may be named `n`
    titles = [*titles_of(first), *scores["title"].unique()]
    table = pivot(concat([cells(rows, first), scores]), titles, benchmark=names)
    heads = [name, *(head.removeprefix("variant ") for head in table.columns[1:])]
    return table.set_axis(heads, axis="columns")


def by_variant(
    results: Results, split: str, columns: Sequence[Column], published: Published = NOTHING
) -> DataFrame:
    """Benchmark and variant × the given columns; published numbers come last."""
    names = results.benchmarks(split)
    found = concat([cells(results.rows(split), columns), published.cells(columns, names)])
    variants = list(found["variant"].unique())
    return pivot(found, titles_of(columns), benchmark=names, variant=variants)


def compact(results: Results, split: str, benchmarks: Sequence[str]) -> DataFrame:
    """Variant × benchmark: `side_by_side` without intervals, for many variants; length is first."""
    score = replace(PREFERENCE if split == "pairs" else AUROC, interval=False)
    alone = replace(score, metric=score.metric.replace("reward", "length"), star=False)
    rows = results.rows(split)
    found = concat([cells(rows, [alone]).assign(variant=LENGTH), cells(rows, [score])])
    found = found.assign(title=found["benchmark"])
    return pivot(found, benchmarks, variant=[LENGTH, *results.variants])


def every_seed(results: Results) -> DataFrame:
    """AUROC of every seed, for variants with several seeds."""
    rows = results.rows("greedy", seeds=True)
    rows = rows[rows["seed"].notna() & rows["variant"].isin(results.several)]
    found = cells(rows, [replace(AUROC, star=False)])
    found = found.assign(title=found["benchmark"], seed=found["seed"].astype(str))
    seeds = sorted(found["seed"].unique(), key=int)
    return pivot(found, results.benchmarks(), variant=results.variants, seed=seeds)


def half_table(results: Results) -> DataFrame:
    """Benchmark and variant: AUROC after half of the tokens, and of the whole length."""
    columns = [
        Column("reward so far", "partial_auroc.reward", 0.5, star=True),
        Column("Q-value", "partial_auroc.q_value", 0.5, star=True),
    ]
    table = by_variant(results, "greedy", columns)
    length = cells(results.rows("greedy"), [Column("", "auroc.length")])
    first = length.drop_duplicates("benchmark").set_index("benchmark")["text"]
    table.insert(2, f"{LENGTH}, at the end", table["benchmark"].map(first))
    return table


def partial_table(results: Results) -> DataFrame:
    """Benchmark, score and variant × share of the tokens: AUROC without intervals."""
    shares = results.shares("partial_auroc.")
    scores = {"partial rewards": "reward", "Q-values": "q_value"}
    columns = {
        score: [Column(f"{p:g}", f"partial_auroc.{name}", p, interval=False) for p in shares]
        for score, name in scores.items()
    }
    rows = results.rows("greedy")
    found = concat([cells(rows, columns[score]).assign(score=score) for score in scores])
    by = {"benchmark": results.benchmarks(), "score": [*scores], "variant": results.variants}
    return pivot(found, [f"{share:g}" for share in shares], **by)


def sample_auroc_table(results: Results) -> DataFrame:
    """Benchmark, variant and baseline: AUROC as mean over samples, with both intervals."""
    found = with_differences(results, "all", OF_SAMPLES)
    return _compared(results, found, titles_of(OF_SAMPLES), benchmark=results.benchmarks("all"))


def top_k_table(results: Results) -> DataFrame:
    """Benchmark, measure, variant and baseline × K: vote and correct share of the K best."""
    sizes, found = results.shares("top_k."), []
    for measure, metric in TOP_K.items():
        columns = [Column(f"K = {k:g}", metric, k, percent=True) for k in sizes]
        found.append(with_differences(results, "all", columns).assign(measure=measure))
    by = {"benchmark": results.benchmarks("all"), "measure": [*TOP_K]}
    return _compared(results, concat(found), [f"K = {k:g}" for k in sizes], **by)


def _compared(
    results: Results, found: DataFrame, titles: Sequence[str], **by: Sequence[str]
) -> DataFrame:
    """A pivot by variant and baseline, too."""
    variants = results.variants
    return pivot(found, titles, **by, variant=variants, baseline=[NONE, *variants])


def filter_table(results: Results) -> DataFrame:
    """Benchmark and filter: the change from the vote of all samples, and what the filter saves."""
    rows = results.rows("all")
    names, variants = results.benchmarks("all"), results.variants
    kind, _, metric = (part for _, part in rows["metric"].str.partition(".").items())
    rows = rows.assign(kind=kind, metric=metric)
    rows = rows[rows["kind"].isin(["filtered", "chosen_filter", "length_filter"])]
    thresholds = [f"{at:g}" for at in results.shares("filtered.")]
    given = rows["kind"] == "filtered"
    found = cells(
        rows.assign(threshold=rows["at"].map("{:g}".format).where(given, "chosen")), FILTERED
    )
    # The length filter is the same for all models.
    found["variant"] = found["variant"].mask(found["kind"] == "length_filter", LENGTH)
    table = pivot(
        found,
        titles_of(FILTERED),
        benchmark=names,
        variant=[*variants, LENGTH],
        threshold=[*thresholds, "chosen"],
    )
    return table.rename(columns={"variant": "filter"})


def details_table(results: Results) -> DataFrame:
    """Held-out set and variant: accuracy of Q-values, margin, truncated and left-out pairs."""
    columns = [
        Column("reward", "pairwise_accuracy.reward", percent=True),
        Column("reward − shorter", "pairwise_accuracy.reward_minus_length", percent=True),
        Column("reward − longer", "pairwise_accuracy.reward_minus_longer", percent=True),
        Column("Q-value", "pairwise_accuracy.q_value", percent=True),
        Column("margin", "margin"),
    ]
    counts = [
        Column("ties", "num_ties", digits=0),
        Column("cut off", "num_truncated", digits=0),
        Column("left out", "num_left_out", digits=0),
    ]
    seeds = results.rows("pairs", seeds=True)
    counted = cells(seeds[seeds["seed"].notna()], counts)
    # If the counts of the seeds differ, all are shown.
    joined = counted.groupby(["benchmark", "variant", "title"], sort=False)["text"].agg(
        lambda texts: ", ".join(texts if texts.nunique() > 1 else texts.unique())
    )
    found = concat([cells(results.rows("pairs"), columns), joined.reset_index()])
    names, titles = results.benchmarks("pairs"), titles_of([*columns, *counts])
    table = pivot(found, titles, benchmark=names, variant=results.variants)
    return table.rename(columns={"benchmark": "held-out set"})


def differences_table(results: Results, split: str, only: Sequence[str] = ()) -> DataFrame:
    """Benchmark and pair of variants: the differences, each with interval and corrected p.

    Rows and columns without numbers are left out.

    Args:
        only: titles of the columns (default: all).
    """
    columns = [each for each in DIFFERENCES[split] if not only or each.title in only]
    return _of_pairs(results, cells(results.mean_differences(split), columns), split)


def seed_differences_table(results: Results) -> DataFrame:
    """Benchmark and pair of variants: the difference in AUROC of every seed."""
    rows = results.differences
    found = cells(rows[rows["seed"].notna()], [replace(DIFFERENCES["greedy"][0], interval=False)])
    found = found.assign(title="seed " + found["seed"].astype(str))
    return _of_pairs(results, found, "greedy")


def _of_pairs(results: Results, found: DataFrame, split: str) -> DataFrame:
    """Benchmark and pair of variants × the titles of the cells."""
    titles = list(found["title"].unique())
    table = _compared(results, found, titles, benchmark=results.benchmarks(split))
    return table.rename(columns={"benchmark": "held-out set"} if split == "pairs" else {})


def goals_table(goals: DataFrame, most: bool = False) -> DataFrame:
    """Benchmark, variant, kind and number of examples: each measure, over draws and seeds.

    Args:
        goals: measurements; see `gcrm.stats.goals`.
        most: show the largest number of examples of each kind alone.
    """
    if most:
        largest = goals.groupby(["variant", "kind"])["examples"].transform("max")
        goals = goals[goals["examples"] == largest]
    found = over_draws(goals, OF_GOALS)
    texts = found.assign(text=[*map(_goal_text, found.itertuples())])
    table = texts.set_index([*OF_GOALS, "measure"])["text"].astype(object).unstack()
    order = goals[OF_GOALS].drop_duplicates().itertuples(index=False, name=None)
    table = table.reindex(index=[*order], columns=[*MEASURES]).fillna(NONE)
    table = table.rename_axis(index=OF_GOALS, columns=None)
    named = table.reset_index().astype({"examples": str})
    return named.rename(columns={**GOAL_TITLES, "kind": "goal state"})


def _goal_text(row: Any) -> str:
    low, high = (row.low, row.high) if row.n > 1 else (None, None)
    return number(row.value, low, high, percent=not row.measure.startswith("auroc"))
