"""The estimates of a report: all metrics and comparisons files of a run as two tidy tables.

Averages over seeds, with intervals over problems and seeds, come from `compare`. Means over
benchmarks are computed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import erfc
from pathlib import Path
from typing import Literal

import numpy as np
from pandas import DataFrame, Series, concat

from gcrm.stats.bootstrap import holm
from gcrm.stats.estimates import estimates_frame, read_all_estimates
from gcrm.utils.errors import UserError

NORMAL = 1.959964
"""half-width of a 95 % interval, in standard errors"""
KEY = ["variant", "benchmark", "split", "metric", "at"]
"""columns that identify an estimate of a variant"""
REWARDS = ("auroc.reward", "pairwise_accuracy.reward")
ROUNDING = 1e-9
CAN_BE_NEGATIVE = r"_minus_|change$|^correlation|^margin"


@dataclass(frozen=True)
class Results:
    """All estimates of a run, with the columns of `gcrm.stats.estimates` and `p_holm`.

    `p_holm` is `p` corrected over benchmarks (Holm), for each metric of each variant or pair of
    variants. It is not corrected over metrics or pairs.

    Attributes:
        estimates: estimates of every seed, and averages (no seed) of variants with several seeds.
        differences: variant minus baseline, averaged over seeds (no seed) and for every seed.
    """

    estimates: DataFrame
    differences: DataFrame

    @property
    def variants(self) -> list[str]:
        """The variants, in the order of the files."""
        return list(self.estimates["variant"].unique())

    def benchmarks(self, split: str = "greedy") -> list[str]:
        """The benchmarks with a split, in the order of the files.

        `greedy`: all benchmarks; `all`: benchmarks with samples; `pairs`: held-out sets.
        """
        return list(self.rows(split)["benchmark"].unique())

    def seeds(self, variant: str) -> list[int]:
        """The seeds of a variant, in order."""
        seeds = self.estimates.loc[self.estimates["variant"] == variant, "seed"]
        return _numbers(seeds)

    @property
    def several(self) -> list[str]:
        """The variants with several seeds."""
        return [name for name in self.variants if len(self.seeds(name)) > 1]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The compared (variant, baseline)."""
        pairs = self.differences[["variant", "baseline"]].drop_duplicates()
        return list(pairs.itertuples(index=False, name=None))

    @cached_property
    def means(self) -> DataFrame:
        """One row per estimate: the average over seeds, or the value of the only seed.

        `above_length` tells whether a score is better than length, whether shorter or longer is
        preferred: the intervals of both differences are above 0.
        """
        rows = self.estimates
        rows = rows[rows["seed"].isna() | ~rows["variant"].isin(self.several)]
        gaps = rows[rows["metric"].str.contains(r"_minus_(?:length|longer)$")]
        scores = gaps["metric"].str.replace(r"_minus_\w+$", "", regex=True)
        lows = gaps.assign(metric=scores).groupby(KEY, dropna=False)["low"].agg(["min", "count"])
        lows["above_length"] = (lows["min"] > 0) & (lows["count"] == 2)
        joined = rows.merge(lows["above_length"].reset_index(), on=KEY, how="left")
        return joined.assign(above_length=joined["above_length"].eq(True))

    def rows(self, split: str, seeds: bool = False) -> DataFrame:
        """The rows of `means` (with `seeds`: of `estimates`) of a split."""
        rows = self.estimates if seeds else self.means
        return rows[rows["split"] == split]

    def mean_differences(self, split: str) -> DataFrame:
        """The differences that have a value, averaged over seeds, of a split."""
        rows = self.differences
        return rows[(rows["split"] == split) & rows["seed"].isna() & rows["value"].notna()]

    def shares(self, prefix: str) -> list[float]:
        """The sorted values of `at` of the metrics with a prefix, where any has a value."""
        rows = self.estimates[self.estimates["metric"].str.startswith(prefix)]
        rows = rows[rows["value"].notna()]
        return sorted(rows["at"].dropna().unique())


def over_benchmarks(
    results: Results,
    benchmarks: Sequence[str],
    split: str,
    weighted: bool = False,
    differences: bool = False,
) -> DataFrame:
    """Means of all metrics over benchmarks and seeds, with 95 % intervals.

    Benchmarks have different problems, which are resampled independently of each other. So the
    squared half-widths of their intervals add up, each times its squared weight: what resampling
    the problems of all benchmarks at once would give, without their scores. Seeds are the same on
    all benchmarks, so what their values have in common does not average out (`_common_to_seeds`).
    The interval is clipped to the range of the metric.

    Args:
        weighted: by the number of problems of each benchmark; default: all the same.
        differences: of variant minus baseline, not of each variant.

    Returns:
        variant, baseline and p (of differences), metric, at, value, low, high and n, the number of
        benchmarks; only for metrics that have a value on every benchmark. p is two-sided: of
        several benchmarks, that of a normal distribution with an interval of this width.
    """
    rows = results.differences if differences else results.estimates
    rows = rows[(rows["split"] == split) & rows["benchmark"].isin(benchmarks)]
    sizes = _problems(results, split) if weighted else dict.fromkeys(benchmarks, 1)
    total = sum(sizes[benchmark] for benchmark in benchmarks)
    weight = rows["benchmark"].map(sizes).astype(float)
    rows = rows.assign(
        below=(weight * (rows["value"] - rows["low"])) ** 2,
        above=(weight * (rows["high"] - rows["value"])) ** 2,
        value=weight * rows["value"],
    )
    name = ["variant", *(["baseline"] if differences else []), "metric", "at"]
    several = rows.groupby([*name, "benchmark"], dropna=False)["seed"].transform("count") > 1
    whole = rows[rows["seed"].isna() | ~several]  # averages over seeds, or the only seed
    count = len(benchmarks)
    sums = whole.groupby(name, dropna=False, sort=False)[["value", "below", "above", "p"]]
    found = sums.sum(min_count=count).dropna(subset="value").reset_index()
    common = _common_to_seeds(rows[rows["seed"].notna() & several], name)
    variance = found[name].merge(common, on=name, how="left")["variance"].fillna(0)
    found["value"] /= total
    sides = (found[side] + NORMAL**2 * variance for side in ("below", "above"))
    below, above = (side.pow(0.5) / total for side in sides)
    if count > 1 or not differences:
        found["p"] = _p(found["value"].abs(), (below + above) / 2) if differences else np.nan
    found["low"] = (found["value"] - below).clip(lower=_least(found["metric"], differences))
    found["high"] = (found["value"] + above).clip(upper=1)
    return found.assign(n=count).drop(columns=["below", "above"])


def _least(metrics: Series, differences: bool) -> Series:
    """The smallest value that each metric, or a difference of it, can have."""
    negative = metrics.str.contains(CAN_BE_NEGATIVE) | differences
    return Series(np.where(negative, -1.0, 0.0), metrics.index)


def _p(distance: Series, reach: Series) -> Series:
    """Two-sided p of a distance from 0 whose interval has this half-width; of no distance, 1."""
    errors = (distance / (reach / NORMAL)).where(distance > 0, 0)
    return (errors / 2**0.5).map(erfc).astype(float)


def _common_to_seeds(each: DataFrame, name: list[str]) -> DataFrame:
    """The covariances that a sum over benchmarks of averages over seeds has through the seeds.

    They are what the variance of the seeds' sums has above the sum of their variances on each
    benchmark, over the number of seeds; at least 0.

    Args:
        each: value of each seed on each benchmark.
        name: columns that identify a sum; those of the result, beside `variance`.
    """
    by_seed = each.groupby([*name, "seed"], dropna=False)["value"].sum()
    sums = by_seed.groupby(level=name, dropna=False).agg(["var", "size"]).reset_index()
    by_benchmark = each.groupby([*name, "benchmark"], dropna=False)["value"].var()
    alone = by_benchmark.groupby(level=name, dropna=False).sum().reset_index(name="alone")
    found = sums.merge(alone, on=name)
    excess = (found["var"] - found["alone"]).clip(lower=0)
    return found.assign(variance=excess / found["size"])


def _problems(results: Results, split: str) -> dict[str, float]:
    """Number of problems of each benchmark with a split."""
    rows = results.rows(split)
    rows = rows[rows["metric"] == "num_problems"].drop_duplicates("benchmark")
    return dict(zip(rows["benchmark"], rows["value"], strict=True))


def read_results(metrics: Sequence[Path], comparisons: Sequence[Path] = ()) -> Results:
    """Read metrics files and the comparisons of their models.

    Raises:
        UserError: a file is missing or invalid; two metrics files have the same model and
            benchmark, or two comparisons files the same benchmark; comparisons do not match the
            metrics, or are missing for a variant with several seeds.
    """
    estimates = _read(metrics, "metrics")
    compared = _read(comparisons, "compare")
    of_variants = compared[compared["baseline"].isna()].drop(columns="baseline")
    _check_comparisons(estimates, of_variants)
    seeds = estimates.groupby("variant")["seed"].nunique()
    several = of_variants["variant"].map(seeds) > 1
    averages = of_variants[of_variants["seed"].isna() & several]
    rows = concat([estimates, averages], ignore_index=True)
    for name in ("benchmark", "variant"):
        order = {value: index for index, value in enumerate(estimates[name].unique())}
        rows = rows.iloc[np.argsort(rows[name].map(order), kind="stable")]
    return Results(
        with_holm(rows.reset_index(drop=True)),
        with_holm(compared[compared["baseline"].notna()]),
    )


def _read(paths: Sequence[Path], stage: Literal["metrics", "compare"]) -> DataFrame:
    """The rows of files; refuses two files for the same model and benchmark."""
    frames, seen = [estimates_frame([], stage)], set()
    for path in paths:
        frames.append(read_all_estimates([path], stage))
        first = frames[-1].iloc[0]
        what = first["benchmark"]
        if stage == "metrics":
            what = f"{first['variant']}, seed {first['seed']}, {what}"
        if what in seen:
            raise UserError(f"{path}: second file for {what}")
        seen.add(what)
    return concat(frames, ignore_index=True)


def _check_comparisons(estimates: DataFrame, compared: DataFrame) -> None:
    """Check that the comparisons match the metrics.

    Raises:
        UserError: seeds or scores differ, or comparisons are missing for several seeds.
    """
    advice = "run `compare` on the scores of all"
    model = ["benchmark", "variant"]
    seeds = {key: _numbers(rows["seed"]) for key, rows in estimates.groupby(model, sort=False)}
    found = {key: _numbers(rows["seed"]) for key, rows in compared.groupby(model, sort=False)}
    for (benchmark, variant), given in found.items():
        if (benchmark, variant) not in seeds:
            raise UserError(
                f"--comparisons: {benchmark}: {variant} is in no file of --metrics; give its "
                "metrics, or run `compare` without it"
            )
        expected = seeds[benchmark, variant]
        if given != (expected if len(expected) > 1 else []):
            has = f"seeds {given}" if given else "one seed"
            raise UserError(
                f"--comparisons: {benchmark}: {variant} has {has}, but {expected} in its metrics; "
                f"{advice}"
            )
    for (benchmark, variant), expected in seeds.items():
        if len(expected) > 1 and (benchmark, variant) not in found:
            raise UserError(
                f"--comparisons: no file for {benchmark}, but {variant} has seeds {expected}; "
                f"{advice} to average over seeds"
            )
    mean, average = (
        rows[rows["metric"].isin(REWARDS)].groupby(KEY[:4])["value"].mean()
        for rows in (estimates, compared[compared["seed"].isna()])
    )
    distance = (mean - average).abs()
    for variant, benchmark, *_ in distance.index[distance > ROUNDING]:
        raise UserError(
            f"--comparisons: {benchmark}: the scores of {variant} differ from its metrics; {advice}"
        )


def _numbers(seeds: Series) -> list[int]:
    return sorted(int(seed) for seed in seeds.dropna().unique())


def with_holm(rows: DataFrame, over: str = "benchmark") -> DataFrame:
    """Add `p_holm`, p corrected over benchmarks (or `over` groups of them), to tidy estimates."""
    names = (*KEY, "baseline", "seed", "weights")
    family = [name for name in names if name in rows and name != over]
    tested = rows[rows["p"].notna()].groupby(family, dropna=False)["p"]
    corrected = tested.transform(lambda p: holm(list(p)))
    return rows.assign(p_holm=corrected.astype(float).reindex(rows.index))
