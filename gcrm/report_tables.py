"""The tables of the report, from the metrics of all variants, seeds and benchmarks of a run.

Several seeds of a variant are averaged, with the intervals over seeds and problems of `compare`
where it has them. Elsewhere the interval of an average is the average of the seeds' intervals: it
holds for these seeds on other problems.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gcrm.comparison_tables import Comparisons, read_comparisons
from gcrm.errors import UserError
from gcrm.files import read_json
from gcrm.statistics import holm
from gcrm.tables import number, p_value

Json = dict[str, Any]

ABOVE_LENGTH = (
    "* above length alone, be shorter or longer better: the 95 % intervals of both differences "
    "are above 0"
)


@dataclass(frozen=True)
class Results:
    """The metrics of a run by (variant, benchmark) and seed, in the order of the files."""

    variants: list[str]
    benchmarks: list[str]
    by_cell: dict[tuple[str, str], dict[int, Json]]
    comparisons: Comparisons = field(default_factory=lambda: Comparisons({}))

    def each(self, variant: str, benchmark: str, *path: str) -> list[Json]:
        """The estimate at `path` of each seed; without those that are not there."""
        found = []
        for metrics in self.by_cell.get((variant, benchmark), {}).values():
            part: Any = metrics
            for key in path:
                part = part.get(key) if isinstance(part, dict) else None
            if isinstance(part, dict):
                found.append(part)
        return found

    def mean(self, variant: str, benchmark: str, *path: str) -> Json | None:
        """The estimate at `path`, averaged over seeds; None where no seed has a value."""
        if len(self.seeds(variant)) > 1:
            over_seeds = self.comparisons.over_seeds(variant, benchmark, *path)
            if over_seeds is not None and over_seeds["value"] is not None:
                return over_seeds
        return average(self.each(variant, benchmark, *path))

    def seeds(self, variant: str) -> list[int]:
        """All seeds of a variant, in order."""
        cells = (each for (name, _), each in self.by_cell.items() if name == variant)
        return sorted({seed for cell in cells for seed in cell})

    def any_variant(self, benchmark: str, *path: str) -> Json | None:
        """An estimate that does not depend on the reward model: that of the first that has it."""
        found = (self.each(variant, benchmark, *path) for variant in self.variants)
        return next((estimates[0] for estimates in found if estimates), None)


def average(estimates: Sequence[Json]) -> Json | None:
    """Mean of values, and of the ends of their intervals."""
    valid = [estimate for estimate in estimates if estimate.get("value") is not None]
    if not valid:
        return None
    count = len(valid)
    interval = None
    if all(estimate["interval"] for estimate in valid):
        interval = [sum(estimate["interval"][end] for estimate in valid) / count for end in (0, 1)]
    return {
        "value": sum(e["value"] for e in valid) / count,
        "interval": interval,
        "n": valid[0]["n"],
    }


def read_results(paths: Sequence[Path], comparisons: Sequence[Path] = ()) -> Results:
    """Read metrics files, and the comparisons of their models.

    Raises:
        UserError: a file is missing or no such file, or two are of the same model and benchmark, or
            comparisons are of other seeds than the metrics.
    """
    results = replace(_read_metrics(paths), comparisons=read_comparisons(comparisons))
    for benchmark, content in results.comparisons.by_benchmark.items():
        for variant, found in content["variants"].items():
            if (seeds := results.seeds(variant)) != sorted(found["seeds"]):
                raise UserError(
                    f"--comparisons: {benchmark}: {variant} has seeds {found['seeds']}, in its "
                    f"metrics {seeds}; run `compare` on the scores of all"
                )
    return results


def _read_metrics(paths: Sequence[Path]) -> Results:
    variants: list[str] = []
    benchmarks: list[str] = []
    by_cell: dict[tuple[str, str], dict[int, Json]] = {}
    for path in paths:
        metrics = read_json(path, "metrics")
        known: Json = metrics if isinstance(metrics, dict) else {}
        origin: list[Any] = [known.get(key) for key in ("variant", "benchmark", "seed")]
        if [type(value) for value in origin] != [str, str, int]:
            raise UserError(
                f"{path}: does not name its variant; expected a file that `metrics --output "
                ".../<variant>/seed<k>/<benchmark>.json` wrote"
            )
        variant, benchmark, seed = origin
        cell = by_cell.setdefault((variant, benchmark), {})
        if seed in cell:
            raise UserError(f"{path}: second file for {variant}, seed {seed}, {benchmark}")
        cell[seed] = metrics
        variants += [variant] if variant not in variants else []
        benchmarks += [benchmark] if benchmark not in benchmarks else []
    return Results(variants, benchmarks, by_cell)


def auroc_table(results: Results, variants: Sequence[str]) -> list[list[str]]:
    """Benchmark × variant: AUROC with interval, beside the base model's accuracy and the length."""
    rows = [["benchmark", "n", "correct %", "length alone", *variants]]
    for benchmark in results.benchmarks:
        correct = results.any_variant(benchmark, "solutions", "correct")
        length = results.any_variant(benchmark, "auroc", "length")
        row = [
            benchmark,
            "–" if correct is None else str(correct["n"]),
            number(correct and correct | {"interval": None}, percent=True),
            number(length),
        ]
        rows.append(row + [starred(results, v, benchmark, "auroc", "length") for v in variants])
    return rows


def starred(
    results: Results, variant: str, name: str, section: str, shorter: str, percent: bool = False
) -> str:
    """The estimate of the reward, with a star where it is `ABOVE_LENGTH`.

    Args:
        name: the benchmark, or the held-out set.
        section: of the metrics that has the reward and its differences from the length.
        shorter: what the difference from "shorter is better" is called there.
    """
    cell = number(results.mean(variant, name, section, "reward"), percent=percent)
    gaps = [
        results.mean(variant, name, section, f"reward_minus_{length}")
        for length in (shorter, "longer")
    ]
    above = all(gap is not None and (gap["interval"] or [0])[0] > 0 for gap in gaps)
    return cell + (" *" if above else "")


def seeds_table(results: Results) -> list[list[str]]:
    """AUROC of every seed, for variants with several."""
    rows = [["variant", "seed", *results.benchmarks]]
    for variant in results.variants:
        seeds = results.seeds(variant)
        for seed in seeds if len(seeds) > 1 else []:
            found = [results.by_cell.get((variant, b), {}).get(seed) for b in results.benchmarks]
            cells = [number(metrics and metrics["auroc"]["reward"]) for metrics in found]
            rows.append([variant, str(seed), *cells])
    return rows


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
OFFICIAL_VOTES: dict[str, tuple[str, ...]] = {
    "majority": ("official", "majority", "accuracy"),
    "Q-filtered": ("official", "filtered", "accuracy"),
    "correct before": ("official", "filtered", "correct_share_before"),
    "correct after": ("official", "filtered", "correct_share_after"),
    "tokens saved": ("official", "filtered", "tokens_saved"),
}


def voted_cells(results: Results) -> list[tuple[str, str]]:
    """(variant, benchmark) of those with votes, benchmark by benchmark."""
    return [
        (variant, benchmark)
        for benchmark in results.benchmarks
        for variant in results.variants
        if results.each(variant, benchmark, "voting", "majority", "accuracy")
    ]


def corrected_p(results: Results) -> dict[tuple[str, str], float]:
    """P of filtered against unfiltered, Holm-corrected over the benchmarks of each variant.

    Of several seeds the largest p counts: the claim has to hold for each of them.
    """
    found: dict[tuple[str, str], float] = {}
    for variant in results.variants:
        p_values = {}
        for benchmark in results.benchmarks:
            tests = results.each(variant, benchmark, "voting", "filtered", "difference")
            if tests:
                p_values[variant, benchmark] = max(test["p"] for test in tests)
        found |= dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return found


def votes_table(
    results: Results, columns: dict[str, tuple[str, ...]], with_p: bool = True
) -> list[list[str]]:
    """Accuracy of votes and tokens saved in %, a row for each benchmark and variant."""
    p_values = corrected_p(results) if with_p else {}
    head = list(columns)
    rows = [["benchmark", "variant", *head, *(["p, filtered"] if with_p else [])]]
    for variant, benchmark in voted_cells(results):
        cells = [
            number(results.mean(variant, benchmark, "voting", *path), percent=True)
            for path in columns.values()
        ]
        p = [p_value(p_values.get((variant, benchmark)))] if with_p else []
        rows.append([benchmark, variant, *cells, *p])
    return rows


# --- tables as CSV: one row for each number ---

ESTIMATE = ("value", "low", "high", "n", "reason")


def flat(estimate: Json) -> list[Any]:
    """An estimate as the cells of `ESTIMATE`."""
    low, high = estimate.get("interval") or (None, None)
    return [estimate.get("value"), low, high, estimate.get("n"), estimate.get("reason")]


def _cells(results: Results) -> list[tuple[list[Any], Json]]:
    return [
        ([variant, seed, benchmark], metrics)
        for (variant, benchmark), seeds in results.by_cell.items()
        for seed, metrics in seeds.items()
    ]


def auroc_rows(results: Results) -> list[list[Any]]:
    """variant, seed, benchmark, score, and the estimate."""
    rows: list[list[Any]] = [["variant", "seed", "benchmark", "score", *ESTIMATE]]
    for where, metrics in _cells(results):
        rows += [[*where, score, *flat(metrics["auroc"][score])] for score in metrics["auroc"]]
    return rows


def partial_rows(results: Results) -> list[list[Any]]:
    """variant, seed, benchmark, score, share of the tokens, and the estimate."""
    rows: list[list[Any]] = [["variant", "seed", "benchmark", "score", "percentile", *ESTIMATE]]
    for where, metrics in _cells(results):
        for score, curve in metrics["partial_auroc"].items():
            if "reason" not in curve:
                rows += [[*where, score, share, *flat(each)] for share, each in curve.items()]
    return rows


def voting_rows(results: Results) -> list[list[Any]]:
    """variant, seed, benchmark, rules, measure, and the estimate."""
    rows: list[list[Any]] = [["variant", "seed", "benchmark", "rules", "measure", *ESTIMATE]]
    both = (("gcrm", VOTES), ("official", OFFICIAL_VOTES))
    for (variant, seed, benchmark), metrics in _cells(results):
        one = Results([variant], [benchmark], {(variant, benchmark): {seed: metrics}})
        for rules, measures in both:
            for measure, path in measures.items():
                for estimate in one.each(variant, benchmark, "voting", *path):
                    rows.append([variant, seed, benchmark, rules, measure, *flat(estimate)])
    return rows
