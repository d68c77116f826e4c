"""The numbers of a report: all metrics and comparisons files of a run in two tidy tables.

Averages over seeds, with intervals over problems and seeds, are those of `compare`. Means over
benchmarks are made here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pandas import DataFrame, Series, concat

from gcrm.stats.bootstrap import holm
from gcrm.stats.estimates import estimates_frame, read_all_estimates
from gcrm.utils.errors import UserError

NORMAL = 1.959964
"""Half the width of a 95 % interval, in standard errors."""
KEY = ["variant", "benchmark", "split", "metric", "at"]
"""Columns that name an estimate of a variant."""
REWARDS = ("auroc.reward", "pairwise_accuracy.reward")
ROUNDING = 1e-9
CAN_BE_NEGATIVE = r"_minus_|change$|^correlation|^margin"


@dataclass(frozen=True)
class Results:
    """All estimates of a run; columns as in `gcrm.stats.estimates`, and `p_holm`.

    `p_holm` is `p` corrected over benchmarks (Holm): the family is one number of one variant, or
    of one pair of variants. It is not corrected over numbers or pairs.

    Attributes:
        estimates: of every seed; of variants with several also averages, which have no seed.
        differences: variant minus baseline, averaged over seeds (no seed) and of every seed.
    """

    estimates: DataFrame
    differences: DataFrame

    @property
    def variants(self) -> list[str]:
        """The variants in the order of the files."""
        return list(self.estimates["variant"].unique())

    def benchmarks(self, split: str = "greedy") -> list[str]:
        """The benchmarks with such completions, in the order of the files.

        `greedy` has all benchmarks, `all` those with samples to vote, `pairs` the held-out sets.
        """
        return list(self.of(split)["benchmark"].unique())

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
        """The (variant, baseline) that are compared."""
        pairs = self.differences[["variant", "baseline"]].drop_duplicates()
        return list(pairs.itertuples(index=False, name=None))

    @cached_property
    def means(self) -> DataFrame:
        """One row for each estimate: the average over seeds, or that of the only seed.

        `above_length` says whether a score is above the length, be shorter or longer better: the
        lower ends of both differences are above 0.
        """
        rows = self.estimates
        rows = rows[rows["seed"].isna() | ~rows["variant"].isin(self.several)]
        gaps = rows[rows["metric"].str.contains(r"_minus_(?:length|longer)$")]
        scores = gaps["metric"].str.replace(r"_minus_\w+$", "", regex=True)
        lows = gaps.assign(metric=scores).groupby(KEY, dropna=False)["low"].agg(["min", "count"])
        lows["above_length"] = (lows["min"] > 0) & (lows["count"] == 2)
        joined = rows.merge(lows["above_length"].reset_index(), on=KEY, how="left")
        return joined.assign(above_length=joined["above_length"].eq(True))

    def of(self, split: str, seeds: bool = False) -> DataFrame:
        """The rows of `means` of a split; with `seeds`, those of `estimates`."""
        rows = self.estimates if seeds else self.means
        return rows[rows["split"] == split]

    def shares(self, prefix: str) -> list[float]:
        """The values of `at` of the metrics whose names begin so, in order."""
        rows = self.estimates[self.estimates["metric"].str.startswith(prefix)]
        return sorted(rows["at"].dropna().unique())


def over_benchmarks(results: Results, benchmarks: Sequence[str], split: str) -> DataFrame:
    """Means of all metrics over benchmarks and seeds, with 95 % intervals.

    Benchmarks have different problems, so the squares of their half-widths add up; seeds share
    their problems, so the half-width of their mean is that of one seed. The spread of the seeds'
    means adds 1.96 standard errors of their mean. Ends stay within the range of the metric.

    Returns:
        variant, metric, at, value, low, high and n, the number of benchmarks. There is no row
        where no seed has a value on every benchmark.
    """
    rows = results.of(split, seeds=True)
    rows = rows[rows["seed"].notna() & rows["value"].notna() & rows["benchmark"].isin(benchmarks)]
    rows = rows.assign(
        below=(rows["value"] - rows["low"]) ** 2, above=(rows["high"] - rows["value"]) ** 2
    )
    name, count = ["variant", "metric", "at"], len(benchmarks)
    groups = rows.groupby([*name, "seed"], dropna=False, sort=False)
    seeds = groups[["value", "below", "above"]].mean()
    seeds = seeds[groups.size() == count].reset_index()
    seeds[["below", "above"]] /= count
    by_name = seeds.groupby(name, dropna=False, sort=False)
    means = by_name[["value", "below", "above"]].mean()
    spread = (NORMAL**2 * by_name["value"].var() / by_name.size()).fillna(0)
    found = means.assign(
        low=means["value"] - np.sqrt(means["below"] + spread),
        high=means["value"] + np.sqrt(means["above"] + spread),
        n=count,
    ).reset_index()
    least = np.where(found["metric"].str.contains(CAN_BE_NEGATIVE), -1.0, 0.0)
    found["low"] = found["low"].clip(lower=Series(least, found.index))
    return found.assign(high=found["high"].clip(upper=1)).drop(columns=["below", "above"])


def read_results(metrics: Sequence[Path], comparisons: Sequence[Path] = ()) -> Results:
    """Read metrics files, and the comparisons of their models.

    Raises:
        UserError: a file is missing or no such file; two are of the same model and benchmark, or
            of the same benchmark; comparisons are of other seeds or scores than the metrics, or
            are missing for a variant with several seeds.
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
        places = {value: place for place, value in enumerate(estimates[name].unique())}
        rows = rows.iloc[np.argsort(rows[name].map(places), kind="stable")]
    return Results(
        with_holm(rows.reset_index(drop=True)),
        with_holm(compared[compared["baseline"].notna()]),
    )


def _read(paths: Sequence[Path], stage: Literal["metrics", "compare"]) -> DataFrame:
    """The rows of files, none of which repeats what another is of."""
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
    """Check that comparisons are of the same models as the metrics.

    Raises:
        UserError: they are of other seeds or scores, or are missing for several seeds.
    """
    advice = "run `compare` on the scores of all"
    model = ["benchmark", "variant"]
    seeds = {key: _numbers(rows["seed"]) for key, rows in estimates.groupby(model, sort=False)}
    found = {key: _numbers(rows["seed"]) for key, rows in compared.groupby(model, sort=False)}
    for (benchmark, variant), theirs in found.items():
        ours = seeds.get((benchmark, variant), [])
        if theirs != (ours if len(ours) != 1 else []) or not ours:
            has = f"seeds {theirs}" if theirs else "one seed"
            raise UserError(
                f"--comparisons: {benchmark}: {variant} has {has}, in its metrics {ours}; {advice}"
            )
    for (benchmark, variant), ours in seeds.items():
        if len(ours) > 1 and (benchmark, variant) not in found:
            raise UserError(
                f"--comparisons: no file for {benchmark}, and {variant} has seeds {ours}; "
                f"{advice}: it averages over seeds"
            )
    mean, average = (
        rows[rows["metric"].isin(REWARDS)].groupby(KEY[:4])["value"].mean()
        for rows in (estimates, compared[compared["seed"].isna()])
    )
    distance = (mean - average).abs()
    for variant, benchmark, *_ in distance.index[distance > ROUNDING]:
        raise UserError(
            f"--comparisons: {benchmark}: {variant} is of other scores than in its metrics; "
            f"{advice}"
        )


def _numbers(seeds: Series) -> list[int]:
    return sorted(int(seed) for seed in seeds.dropna().unique())


def with_holm(rows: DataFrame) -> DataFrame:
    """Tidy estimates, with `p_holm`: p corrected over benchmarks."""
    family = [name for name in (*KEY, "baseline", "seed") if name in rows and name != "benchmark"]
    tested = rows[rows["p"].notna()].groupby(family, dropna=False)["p"]
    corrected = tested.transform(lambda p: holm(list(p)))
    return rows.assign(p_holm=corrected.astype(float).reindex(rows.index))
