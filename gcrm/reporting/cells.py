"""The tables of the report as cells to read; row 0 is the head."""

from collections.abc import Sequence
from typing import Any

from gcrm.reporting.formats import number
from gcrm.reporting.published import Published
from gcrm.reporting.results import Results
from gcrm.reporting.rows import VOTES
from gcrm.stats.places import Place, minus

Cells = list[list[str]]

ABOVE_LENGTH = (
    "* above length alone, be shorter or longer better: the 95 % intervals of both differences "
    "are above 0"
)


def auroc_table(
    results: Results, variants: Sequence[str], published: Published | None = None
) -> Cells:
    """Benchmark × variant: AUROC with interval, beside the base model's accuracy and the length.

    Published numbers have columns of their own, where there are any.
    """
    papers = [] if published is None else published.models("auroc", results.benchmarks)
    head = ["benchmark", "n", "correct %", "length alone", *variants]
    rows = [head + [f"{model} (published)" for model in papers]]
    for benchmark in results.benchmarks:
        correct = results.any_variant(benchmark, "solutions", "correct")
        length = results.any_variant(benchmark, "auroc", "length")
        row = [
            benchmark,
            "–" if correct is None else str(correct["n"]),
            number(correct and correct | {"interval": None}, percent=True),
            number(length),
        ]
        row += [starred(results, v, benchmark, ("auroc", "reward"), "length") for v in variants]
        if published is not None:
            row += [published.cell("auroc", model, benchmark) for model in papers]
        rows.append(row)
    return rows


def plain_auroc_table(results: Results, benchmarks: Sequence[str]) -> Cells:
    """Variant × benchmark: AUROC without intervals, for many variants; first that of the length."""
    rows = [["variant", *benchmarks], ["length alone"]]
    rows[1] += [_plain(results.any_variant(name, "auroc", "length")) for name in benchmarks]
    for variant in results.variants:
        cells = [
            _plain(results.mean(variant, name, "auroc", "reward"))
            + star(results, variant, name, ("auroc", "reward"), "length")
            for name in benchmarks
        ]
        rows.append([variant, *cells])
    return rows


def starred(
    results: Results, variant: str, name: str, place: Place, shorter: str, percent: bool = False
) -> str:
    """The estimate of a score, with a star where it is `ABOVE_LENGTH`.

    Args:
        name: the benchmark, or the held-out set.
        place: of the score in the metrics; its differences from the length are beside it.
        shorter: what the length is called there, if shorter is better.
    """
    cell = number(results.mean(variant, name, *place), percent=percent)
    return cell + star(results, variant, name, place, shorter)


def star(results: Results, variant: str, name: str, place: Place, shorter: str) -> str:
    """` *` where the score is `ABOVE_LENGTH`; arguments as for `starred`."""
    gaps = [results.mean(variant, name, *minus(place, length)) for length in (shorter, "longer")]
    above = all(gap is not None and (gap["interval"] or [0])[0] > 0 for gap in gaps)
    return " *" if above else ""


def seeds_table(results: Results) -> Cells:
    """AUROC of every seed, for variants with several."""
    rows = [["variant", "seed", *results.benchmarks]]
    for variant in results.variants:
        seeds = results.seeds(variant)
        for seed in seeds if len(seeds) > 1 else []:
            found = [results.by_cell.get((variant, b), {}).get(seed) for b in results.benchmarks]
            cells = [number(metrics and metrics["auroc"]["reward"]) for metrics in found]
            rows.append([variant, str(seed), *cells])
    return rows


def half_table(results: Results) -> Cells:
    """Benchmark and variant: AUROC after half of the tokens, beside that of the whole length.

    There is the head alone where that share was not asked for.
    """
    rows = [["benchmark", "variant", "length alone, at the end", "reward so far", "Q-value"]]
    scores = [("partial_auroc", score, "0.5") for score in ("reward", "q_value")]
    for benchmark in results.benchmarks:
        length = number(results.any_variant(benchmark, "auroc", "length"))
        for variant in results.variants:
            if any(results.mean(variant, benchmark, *score) for score in scores):
                cells = [starred(results, variant, benchmark, s, "length") for s in scores]
                rows.append([benchmark, variant, length, *cells])
    return rows


def partial_table(results: Results) -> Cells:
    """Benchmark, score and variant × share of the tokens: AUROC without intervals."""
    shares = results.settings("percentiles")
    shares = shares[0] if shares else []
    rows = [["benchmark", "score", "variant", *(f"{share:g}" for share in shares)]]
    for benchmark in results.benchmarks:
        for score, title in (("reward", "partial rewards"), ("q_value", "Q-values")):
            for variant in results.variants:
                cells = [
                    _plain(results.mean(variant, benchmark, "partial_auroc", score, f"{share:g}"))
                    for share in shares
                ]
                rows.append([benchmark, title, variant, *cells])
    return rows


def _plain(estimate: dict[str, Any] | None, digits: int = 3) -> str:
    return number(estimate and estimate | {"interval": None}, digits)


def correlation_table(results: Results) -> Cells:
    """Benchmark and variant × share of the tokens: Pearson correlation of Q and partial reward."""
    shares = _correlation_shares(results)
    rows = [["benchmark", "variant", *shares]]
    for benchmark in results.benchmarks:
        for variant in results.variants:
            cells = [
                number(results.mean(variant, benchmark, "q_value_correlation", share, "pearson"), 2)
                for share in shares
            ]
            rows.append([benchmark, variant, *cells])
    return rows


def _correlation_shares(results: Results) -> list[str]:
    shares = results.settings("correlation_percentiles")
    return [f"{share:g}" for share in shares[0]] if shares else []


def variants_table(results: Results, in_distribution: Sequence[str]) -> Cells:
    """Variant × means over benchmarks: AUROC, correlation with Q-values, votes."""
    inside = [name for name in results.benchmarks if name in in_distribution]
    outside = [name for name in results.benchmarks if name not in in_distribution]
    groups = {"AUROC in distribution": inside, "AUROC out of distribution": outside}
    if not inside or not outside:
        groups = {"AUROC": results.benchmarks}
    shares = _correlation_shares(results)
    sampled = results.sampled()
    votes = ("majority", "Q-filtered", "tokens saved") if sampled else ()
    rows = [["variant", *groups, *(f"corr. at {share}" for share in shares), *votes]]
    for variant in results.variants:
        aurocs = [
            number(results.over(variant, names, "auroc", "reward")) for names in groups.values()
        ]
        correlations = [
            _plain(
                results.over(variant, results.benchmarks, "q_value_correlation", share, "pearson"),
                2,
            )
            for share in shares
        ]
        voted = [
            number(results.over(variant, sampled, "voting", *VOTES[name]), percent=True)
            for name in votes
        ]
        rows.append([variant, *aurocs, *correlations, *voted])
    return rows


def votes_table(
    results: Results,
    columns: dict[str, tuple[str, ...]],
    published: Published | None = None,
) -> Cells:
    """Accuracy of votes and tokens saved in %, a row for each benchmark and variant."""
    rows = [["benchmark", "variant", *columns]]
    for benchmark in results.sampled():
        for variant in results.variants:
            cells = [
                number(results.mean(variant, benchmark, "voting", *path), percent=True)
                for path in columns.values()
            ]
            rows.append([benchmark, variant, *cells])
        if published is not None:
            for model in published.models(list(columns), [benchmark]):
                cells = [published.cell(name, model, benchmark, percent=True) for name in columns]
                rows.append([benchmark, f"{model} (published)", *cells])
    return rows
