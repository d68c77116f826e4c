"""The tables of the report as CSV: every number of every seed, one row each.

A variant with several seeds has rows without a seed, too: averages, as the tables show them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gcrm.reporting.published import Published, PublishedNumber
from gcrm.reporting.results import Json, Results
from gcrm.stats.places import Place, estimates, leaves, nested

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

FILTERS = ("filtered", "filter_chosen", "length_filter_chosen", "filter_curve")
"""The sections of the votes that are about a filter."""


def flat(estimate: Json) -> list[Any]:
    """An estimate as the cells of `ESTIMATE`."""
    low, high = estimate.get("interval") or (None, None)
    return [estimate.get("value"), low, high, estimate.get("n"), estimate.get("reason")]


def cells(results: Results) -> Iterator[tuple[list[Any], Json]]:
    """Variant, seed and benchmark with their metrics; after several seeds, None and averages."""
    for (variant, benchmark), seeds in results.by_cell.items():
        for seed, metrics in seeds.items():
            yield [variant, seed, benchmark], metrics
        if len(seeds) > 1:
            places = dict.fromkeys(place for found in seeds.values() for place in estimates(found))
            means = {place: results.mean(variant, benchmark, *place) for place in places}
            averages = {place: mean for place, mean in means.items() if mean is not None}
            yield [variant, None, benchmark], nested(averages)


def auroc_rows(results: Results, published: Published) -> Rows:
    """variant, seed, benchmark, score, and the estimate; then published numbers."""
    rows: Rows = [["variant", "seed", "benchmark", "score", *ESTIMATE, "published in"]]
    for where, metrics in cells(results):
        for score, estimate in metrics.get("auroc", {}).items():
            rows.append([*where, score, *flat(estimate), None])
    for number in published.of(["auroc"], results.benchmarks):
        rows.append([*_published(number), "reward", *flat({"value": number.value}), number.source])
    return rows


def _published(number: PublishedNumber) -> list[Any]:
    return [f"{number.model} (published)", None, number.benchmark]


def partial_rows(results: Results) -> Rows:
    """variant, seed, benchmark, score, share of the tokens, and the estimate."""
    rows: Rows = [["variant", "seed", "benchmark", "score", "percentile", *ESTIMATE]]
    for where, metrics in cells(results):
        for score, curve in metrics.get("partial_auroc", {}).items():
            rows += [[*where, score, share, *flat(each)] for share, each in _curve(curve)]
    return rows


def correlation_rows(results: Results) -> Rows:
    """variant, seed, benchmark, method, share of the tokens, and the estimate."""
    rows: Rows = [["variant", "seed", "benchmark", "method", "percentile", *ESTIMATE]]
    for where, metrics in cells(results):
        for share, methods in _curve(metrics.get("q_value_correlation", {})):
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


VOTE_HEAD = ["variant", "seed", "benchmark", "rules", "measure", *ESTIMATE, "p", "published in"]


def vote_rows(results: Results) -> Rows:
    """The votes: variant, seed, benchmark, rules, measure, estimate, p, source.

    A measure that the table does not show is called by its place in the metrics file.
    """
    names = {path: name for name, path in VOTES.items()}
    rows: Rows = [VOTE_HEAD]
    for where, place, estimate in _votes(results):
        if place in names or place[0] not in (*FILTERS, "official"):
            rows.append([*where, "gcrm", names.get(place, ".".join(place)), *_tested(estimate)])
    return rows


def filter_rows(results: Results) -> Rows:
    """What filters do that is not among the votes, also along the curve; as `vote_rows`."""
    return [VOTE_HEAD] + [
        [*where, "gcrm", ".".join(place), *_tested(estimate)]
        for where, place, estimate in _votes(results)
        if place[0] in FILTERS and place not in VOTES.values()
    ]


def official_rows(results: Results, published: Published) -> Rows:
    """The votes as the authors count, then published numbers; columns as for `vote_rows`."""
    names = {path: name for name, path in OFFICIAL_VOTES.items()}
    rows: Rows = [VOTE_HEAD]
    for where, place, estimate in _votes(results):
        if place[0] == "official":
            measure = names.get(place, ".".join(place[1:]))
            rows.append([*where, "official", measure, *_tested(estimate)])
    for number in published.of(list(OFFICIAL_VOTES), results.sampled()):  # the paper counts so
        cells = ["official", number.measure, *flat({"value": number.value}), None, number.source]
        rows.append([*_published(number), *cells])
    return rows


def _tested(estimate: Json) -> list[Any]:
    return [*flat(estimate), estimate.get("p"), None]


def _votes(results: Results) -> Iterator[tuple[list[Any], Place, Json]]:
    for where, metrics in cells(results):
        for place, estimate in _numbers(metrics.get("voting", {})):
            yield where, place, estimate


def _numbers(part: Json, above: Place = ()) -> Iterator[tuple[Place, Json]]:
    """All estimates and single numbers of a section, those in lists, too, by their place."""
    for place, leaf in leaves(part, above):
        if isinstance(leaf, list):
            yield from _numbers({str(i): inner for i, inner in enumerate(leaf)}, place)
        elif isinstance(leaf, dict):
            yield place, leaf
        elif isinstance(leaf, int | float):
            yield place, {"value": leaf}
