"""The metrics of a run by variant, benchmark and seed, and averages over seeds.

The interval of an average takes in both problems and seeds. It is that of `compare`, where it has
one. Elsewhere the part of the problems is that of the seeds' own intervals, which share their
problems, and the part of the seeds is the standard error of their mean. It is added in squares,
below and above the value by themselves.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from gcrm.reporting.comparison_tables import Comparisons, read_comparisons
from gcrm.reporting.metrics_files import read_metrics
from gcrm.stats.places import is_minus
from gcrm.utils.errors import UserError

Json = dict[str, Any]

NORMAL = 1.959964
"""Half the width of a 95 % interval, in standard errors."""
ANYTHING = (-math.inf, math.inf)
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
"""The least and the largest value of a share, and of a correlation or a difference of shares."""


@dataclass(frozen=True)
class Results:
    """The metrics of a run by (variant, benchmark) and seed, in the order of the files.

    A held-out preference set is a benchmark here.
    """

    variants: list[str] = field(default_factory=list)
    benchmarks: list[str] = field(default_factory=list)
    by_cell: dict[tuple[str, str], dict[int, Json]] = field(default_factory=dict)
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
        return average(self.each(variant, benchmark, *path), ends=ends_of(*path))

    def over(self, variant: str, benchmarks: Iterable[str], *path: str) -> Json | None:
        """The estimate at `path`, averaged over benchmarks, then over seeds.

        None where one of the benchmarks has no value.
        """
        names = list(benchmarks)
        by_seed = [
            across(
                [
                    estimate
                    for name in names
                    for estimate in self.of_seed(variant, seed, name).each(variant, name, *path)
                ]
            )
            for seed in self.seeds(variant)
        ]
        found = [one for one in by_seed if one is not None and one["n"] == len(names)]
        return average(found, ends=ends_of(*path)) if names else None

    def of_seed(self, variant: str, seed: int, benchmark: str) -> "Results":
        """The metrics of one seed of one variant on one benchmark."""
        metrics = self.by_cell.get((variant, benchmark), {}).get(seed)
        cell = {} if metrics is None else {seed: metrics}
        return Results([variant], [benchmark], {(variant, benchmark): cell})

    def seeds(self, variant: str) -> list[int]:
        """All seeds of a variant, in order."""
        cells = (each for (name, _), each in self.by_cell.items() if name == variant)
        return sorted({seed for cell in cells for seed in cell})

    def any_variant(self, benchmark: str, *path: str) -> Json | None:
        """An estimate that does not depend on the reward model: that of the first that has it."""
        found = (self.each(variant, benchmark, *path) for variant in self.variants)
        return next((estimates[0] for estimates in found if estimates), None)

    def sampled(self) -> list[str]:
        """The benchmarks with votes over samples."""
        return [name for name in self.benchmarks if self.any_variant(name, "voting", "majority")]

    def settings(self, name: str) -> list[Any]:
        """The values that a setting of `metrics` has in the files, each once."""
        found: list[Any] = []
        for cell in self.by_cell.values():
            for metrics in cell.values():
                value = metrics["settings"][name]
                found += [value] if value not in found else []
        return found


def ends_of(*path: str) -> tuple[float, float]:
    """The least and the largest value that the number at this place of a metrics file can have."""
    if path[0] == "margin":
        return ANYTHING
    if path[0] == "q_value_correlation" or path[-1] == "difference" or is_minus(path):
        return DIFFERENCE
    return SHARE


def average(estimates: Sequence[Json], ends: tuple[float, float] = ANYTHING) -> Json | None:
    """Mean over seeds, with an interval over problems and seeds; None without a value.

    Args:
        ends: the interval does not go beyond these.
    """
    valid = [estimate for estimate in estimates if estimate.get("value") is not None]
    if not valid:
        return None
    values = [estimate["value"] for estimate in valid]
    interval = None
    if all(estimate["interval"] for estimate in valid):
        seeds = NORMAL**2 * variance(values) / len(values) if len(values) > 1 else 0.0
        below, above = (fmean(reach**2 for reach in side) for side in _reaches(valid))
        interval = [
            max(ends[0], fmean(values) - math.sqrt(below + seeds)),
            min(ends[1], fmean(values) + math.sqrt(above + seeds)),
        ]
    return {"value": fmean(values), "interval": interval, "n": valid[0]["n"]}


def across(estimates: Sequence[Json]) -> Json | None:
    """Mean over benchmarks, whose problems are independent; `n` is the number with a value."""
    valid = [estimate for estimate in estimates if estimate.get("value") is not None]
    if not valid:
        return None
    value, interval = fmean(estimate["value"] for estimate in valid), None
    if all(estimate["interval"] for estimate in valid):
        below, above = (math.hypot(*side) / len(valid) for side in _reaches(valid))
        interval = [value - below, value + above]
    return {"value": value, "interval": interval, "n": len(valid)}


def _reaches(estimates: Sequence[Json]) -> tuple[list[float], list[float]]:
    """How far each interval reaches below and above its value."""
    return (
        [estimate["value"] - estimate["interval"][0] for estimate in estimates],
        [estimate["interval"][1] - estimate["value"] for estimate in estimates],
    )


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
        metrics = read_metrics(path)
        variant, benchmark, seed = (metrics[key] for key in ("variant", "benchmark", "seed"))
        cell = by_cell.setdefault((variant, benchmark), {})
        if seed in cell:
            raise UserError(f"{path}: second file for {variant}, seed {seed}, {benchmark}")
        cell[seed] = metrics
        variants += [variant] if variant not in variants else []
        benchmarks += [benchmark] if benchmark not in benchmarks else []
    return Results(variants, benchmarks, by_cell)
