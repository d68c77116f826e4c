"""Means over benchmarks, in and out of the distribution of the preference pairs."""

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from itertools import product

from pandas import DataFrame, Series, concat

from gcrm.reporting.columns import (
    AUROC,
    MAIN_VOTES,
    VOTES,
    Column,
    Numbers,
    cells,
    correlation_columns,
    pivot,
    titles_of,
)
from gcrm.reporting.formats import NONE
from gcrm.reporting.results import Results, over_benchmarks, with_holm

WEIGHTS = {"equal": False, "problems": True}
"""weights of the benchmarks in a mean: all the same, or their numbers of problems"""
MEANS = [
    replace(AUROC, title="AUROC", star=False),
    Column("AUROC, half the tokens", "partial_auroc.reward", 0.5),
    Column("AUROC of Q, half the tokens", "partial_auroc.q_value", 0.5),
    *(Column(f"vote: {VOTES[i].title}", VOTES[i].metric, percent=True) for i in (2, 6, 7)),
]
"""columns of `means_table`; those without estimates are left out"""
SHOWN = {column.metric for column in [AUROC, *MEANS, *VOTES]} | {"correlation.pearson"}


@lru_cache(maxsize=1)  # several tables show parts of it; do not change what it returns
def all_means(numbers: Numbers) -> DataFrame:
    """Means over groups of benchmarks (`benchmarks`) with `weights`, of variants and differences.

    The groups are all benchmarks, those in distribution, and the others.
    """
    inside, found = numbers.in_distribution, []
    results = _of_metrics(numbers.results, [*SHOWN, "num_problems"])
    for split in ("greedy", "all"):
        names = results.benchmarks(split)
        groups = {"all": names}
        if inside:
            groups["in distribution"] = [name for name in names if name in inside]
            groups["out of distribution"] = [name for name in names if name not in inside]
        for (group, part), (weights, weighted), differences in product(
            groups.items(), WEIGHTS.items(), (False, True)
        ):
            rows = over_benchmarks(results, part, split, weighted, differences)
            rows = rows if differences else rows.assign(baseline=Series(dtype="str"))
            rows = rows[rows["metric"].isin(SHOWN)]
            found.append(rows.assign(benchmarks=group, weights=weights, split=split))
    rows = concat([part for part in found if len(part)] or found[:1], ignore_index=True)
    first = ["variant", "baseline", "benchmarks", "weights", "split"]
    return rows[[*first, *(name for name in rows if name not in first)]]


def _of_metrics(results: Results, metrics: Collection[str]) -> Results:
    """The results of some metrics alone."""
    tables = results.estimates, results.differences
    return Results(*(rows[rows["metric"].isin(metrics)] for rows in tables))


def variant_means(numbers: Numbers) -> DataFrame:
    """The rows of `all_means` of variants with equal weights, for `variants_table`."""
    rows = all_means(numbers)
    return rows[(rows["weights"] == "equal") & rows["baseline"].isna()]


def means_table(numbers: Numbers) -> DataFrame:
    """Group of benchmarks, weights, variant and baseline × means: the main metrics."""
    rows = all_means(numbers)
    rows = rows[rows["benchmarks"].isin(_parts(rows))].fillna({"baseline": NONE})
    own, rows = rows["baseline"] == NONE, with_holm(rows, "benchmarks")
    signed = [replace(column, signed=True) for column in MEANS]
    found = concat([cells(rows[own], MEANS), cells(rows[~own], signed)])
    return pivot(
        found,
        [title for title in titles_of(MEANS) if title in set(found["title"])],
        benchmarks=_parts(rows),
        weights=[*WEIGHTS],
        variant=numbers.results.variants,
        baseline=[NONE, *numbers.results.variants],
    )


def _parts(means: DataFrame) -> list[str]:
    """The groups of benchmarks that do not overlap."""
    groups = means["benchmarks"].unique()
    return [name for name in groups if name != "all"] or ["all"]


def variants_table(numbers: Numbers) -> DataFrame:
    """Variant × means over benchmarks: AUROC, correlation of Q-value and partial reward, votes."""
    means = variant_means(numbers)
    group, sampled = means["benchmarks"], means["split"] == "all"
    parts = _parts(means[~sampled])
    aurocs = [
        replace(AUROC, title=f"AUROC {part}".removesuffix(" all"), star=False) for part in parts
    ]
    correlations = correlation_columns(numbers.results, "corr. at {:g}", interval=False)
    votes = MAIN_VOTES if numbers.results.benchmarks("all") else []
    found = [
        cells(means[group == part], [column]) for part, column in zip(parts, aurocs, strict=True)
    ]
    found += [
        cells(means[(group == "all") & ~sampled], correlations),
        cells(means[(group == "all") & sampled], votes),
    ]
    titles = titles_of([*aurocs, *correlations, *votes])
    return pivot(concat(found), titles, variant=numbers.results.variants)
