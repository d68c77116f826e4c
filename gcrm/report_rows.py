"""The tables of the report as CSV: every number of every seed, one row each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gcrm.published import Published, PublishedNumber
from gcrm.report_results import Json, Results

Rows = list[list[Any]]

ESTIMATE = ("value", "low", "high", "n", "reason")
VOTES: dict[str, tuple[str, ...]] = {
    "one sample": ("mean_correct",),
    "majority": ("majority", "accuracy"),
    "Q-filtered": ("filtered", "accuracy"),
    "tokens saved": ("filtered", "tokens_saved"),
    "Q-filtered, chosen t": ("filter_chosen", "accuracy"),
    "tokens saved, chosen t": ("filter_chosen", "tokens_saved"),
    "weighted by reward": ("reward_weighted",),
    "best of n": ("best_of_n",),
    "any of n": ("pass_at_n",),
}
"""Measures of the votes, and where a metrics file has them."""
OFFICIAL_VOTES: dict[str, tuple[str, ...]] = {
    "majority": ("official", "majority", "accuracy"),
    "Q-filtered": ("official", "filtered", "accuracy"),
    "correct before": ("official", "filtered", "correct_share_before"),
    "correct after": ("official", "filtered", "correct_share_after"),
    "tokens saved": ("official", "filtered", "tokens_saved"),
}


def flat(estimate: Json) -> list[Any]:
    """An estimate as the cells of `ESTIMATE`."""
    low, high = estimate.get("interval") or (None, None)
    return [estimate.get("value"), low, high, estimate.get("n"), estimate.get("reason")]


def _cells(results: Results) -> Iterator[tuple[list[Any], Json]]:
    for (variant, benchmark), seeds in results.by_cell.items():
        for seed, metrics in seeds.items():
            yield [variant, seed, benchmark], metrics


def auroc_rows(results: Results, published: Published) -> Rows:
    """variant, seed, benchmark, score, and the estimate; then published numbers."""
    rows: Rows = [["variant", "seed", "benchmark", "score", *ESTIMATE, "published in"]]
    for where, metrics in _cells(results):
        for score, estimate in metrics["auroc"].items():
            rows.append([*where, score, *flat(estimate), None])
    for number in published.of(["auroc"], results.benchmarks):
        rows.append([*_published(number), "reward", *flat({"value": number.value}), number.source])
    return rows


def _published(number: PublishedNumber) -> list[Any]:
    return [f"{number.model} (published)", None, number.benchmark]


def partial_rows(results: Results) -> Rows:
    """variant, seed, benchmark, score, share of the tokens, and the estimate."""
    rows: Rows = [["variant", "seed", "benchmark", "score", "percentile", *ESTIMATE]]
    for where, metrics in _cells(results):
        for score, curve in metrics["partial_auroc"].items():
            rows += [[*where, score, share, *flat(each)] for share, each in _curve(curve)]
    return rows


def correlation_rows(results: Results) -> Rows:
    """variant, seed, benchmark, method, share of the tokens, and the estimate."""
    rows: Rows = [["variant", "seed", "benchmark", "method", "percentile", *ESTIMATE]]
    for where, metrics in _cells(results):
        for share, methods in _curve(metrics["q_value_correlation"]):
            rows += [[*where, method, share, *flat(each)] for method, each in methods.items()]
    return rows


def _curve(curve: Json) -> Iterable[tuple[str, Json]]:
    """The points of a section, none where it only holds the reason why there are none."""
    return [] if "reason" in curve else curve.items()


def variant_rows(results: Results, in_distribution: Sequence[str]) -> Rows:
    """variant, group of benchmarks, measure, and the mean over benchmarks and seeds."""
    inside = [name for name in results.benchmarks if name in in_distribution]
    outside = [name for name in results.benchmarks if name not in in_distribution]
    groups = {"all": results.benchmarks}
    if inside and outside:
        groups |= {"in distribution": inside, "out of distribution": outside}
    rows: Rows = [["variant", "benchmarks", "measure", *ESTIMATE]]
    for variant in results.variants:
        for group, names in groups.items():
            rows.append(
                [variant, group, "AUROC", *_mean(results, variant, names, "auroc", "reward")]
            )
            for share in (results.settings("correlation_percentiles") or [[]])[0]:
                where = ("q_value_correlation", f"{share:g}", "pearson")
                measure = f"correlation at {share:g}"
                rows.append([variant, group, measure, *_mean(results, variant, names, *where)])
        for measure, path in VOTES.items() if results.sampled() else ():
            cells = _mean(results, variant, results.sampled(), "voting", *path)
            rows.append([variant, "with samples", measure, *cells])
    return rows


def _mean(results: Results, variant: str, names: Sequence[str], *path: str) -> list[Any]:
    return flat(results.over(variant, names, *path) or {})


def voting_rows(
    results: Results, rules: str, measures: dict[str, tuple[str, ...]], published: Published
) -> Rows:
    """variant, seed, benchmark, rules, measure, and the estimate; then published numbers."""
    rows: Rows = [["variant", "seed", "benchmark", "rules", "measure", *ESTIMATE, "published in"]]
    for variant, seed, benchmark in (where for where, _ in _cells(results)):
        one = results.of_seed(variant, seed, benchmark)
        for measure, path in measures.items():
            for estimate in one.each(variant, benchmark, "voting", *path):
                rows.append([variant, seed, benchmark, rules, measure, *flat(estimate), None])
    if rules == "official":  # the paper counts so
        for number in published.of(list(measures), results.sampled()):
            cells = [rules, number.measure, *flat({"value": number.value}), number.source]
            rows.append([*_published(number), *cells])
    return rows
