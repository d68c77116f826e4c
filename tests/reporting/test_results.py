"""Estimates of a report: averages over seeds from `compare`, means over benchmarks, Holm."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import concat
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable
from gcrm.reporting.results import NORMAL, Results, over_benchmarks, read_results
from gcrm.stats.compute import compare_models
from gcrm.stats.estimates import estimates_frame
from gcrm.utils.errors import UserError
from helpers.estimates import comparisons_file, estimates, metrics_file
from helpers.score_rows import columns, plain_auroc

AUROC = "auroc.reward"


def two_seeds(folder: Path, **of_average: Any) -> Results:
    """Variant v with 0.6 and 0.8, and its comparisons file."""
    metrics = [
        metrics_file(folder / "metrics", estimates({AUROC: (value, 0.5, 0.9)}, seed=seed))
        for seed, value in enumerate((0.6, 0.8))
    ]
    rows = estimates({AUROC: (0.7, 0.4, 0.95)}, seed=None, **of_average)
    rows += [row for seed in (0, 1) for row in estimates({AUROC: 0.6 + seed / 5}, seed=seed)]
    return read_results(metrics, [comparisons_file(folder / "comparisons", rows)])


def test_averages_over_seeds_come_from_compare(tmp_path: Path) -> None:
    results = two_seeds(tmp_path)
    [mean] = results.means.to_dict("records")
    assert (mean["value"], mean["low"], mean["high"]) == (0.7, 0.4, 0.95)
    assert list(results.estimates["value"]) == [0.6, 0.8, 0.7]  # every seed, then the average
    assert (results.seeds("v"), results.several) == ([0, 1], ["v"])


def test_single_seed_keeps_its_interval(tmp_path: Path) -> None:
    path = metrics_file(tmp_path, estimates({AUROC: (0.6, 0.5, 0.8)}))
    compared = comparisons_file(tmp_path, estimates({AUROC: (0.6, 0.1, 0.9)}, seed=None))
    for comparisons in ([], [compared]):
        [mean] = read_results([path], comparisons).means.to_dict("records")
        assert (mean["value"], mean["low"], mean["high"]) == (0.6, 0.5, 0.8)


def test_several_seeds_need_comparisons(tmp_path: Path) -> None:
    paths = [metrics_file(tmp_path, estimates({AUROC: 0.6}, seed=seed)) for seed in (0, 1)]
    with pytest.raises(UserError, match=r"no file for b, but v has seeds \[0, 1\]; run `compare`"):
        read_results(paths)


@pytest.mark.parametrize(
    ("compared", "seeds", "message"),
    [
        ([0, 1], [0], r"b: v has seeds \[0, 1\], but \[0\] in its metrics; run `compare`"),
        ([0, 2], [0, 1], r"b: v has seeds \[0, 2\], but \[0, 1\] in its metrics"),
        ([], [0, 1], r"b: v has one seed, but \[0, 1\] in its metrics"),
    ],
)
def test_comparisons_of_other_seeds_are_refused(
    tmp_path: Path, compared: list[int], seeds: list[int], message: str
) -> None:
    paths = [metrics_file(tmp_path, estimates({AUROC: 0.6}, seed=seed)) for seed in seeds]
    rows = [row for seed in [None, *compared] for row in estimates({AUROC: 0.6}, seed=seed)]
    with pytest.raises(UserError, match=message):
        read_results(paths, [comparisons_file(tmp_path, rows)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": 0.61}, "b: the scores of v differ from its metrics"),
        ({"variant": "w"}, "b: w is in no file of --metrics; give its metrics"),
        ({"benchmark": "c"}, "c: v is in no file of --metrics; give its metrics"),
    ],
)
def test_comparisons_of_other_models_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = metrics_file(tmp_path, estimates({AUROC: 0.6}))
    compared = comparisons_file(tmp_path, estimates({AUROC: 0.6}, **({"seed": None} | changes)))
    with pytest.raises(UserError, match=message):
        read_results([path], [compared])


def test_duplicate_files_are_refused(tmp_path: Path) -> None:
    path = metrics_file(tmp_path, estimates({AUROC: 0.6}))
    with pytest.raises(UserError, match="second file for v, seed 0, b"):
        read_results([path, path])
    compared = comparisons_file(tmp_path, estimates({AUROC: 0.6}, seed=None))
    with pytest.raises(UserError, match="second file for b"):
        read_results([path], [compared, compared])


def test_p_is_corrected_over_the_benchmarks_that_have_a_value(tmp_path: Path) -> None:
    metrics, comparisons = [], []
    for name, p in {"gsm8k": 0.01, "math": 0.03, "mawps": 0.04, "svamp": None}.items():
        values = {AUROC: 0.1 if p else None, "margin": 0.1}
        metrics.append(metrics_file(tmp_path, estimates({AUROC: 0.6}, benchmark=name)))
        rows = estimates(values, benchmark=name, seed=None, baseline="old", p=p)
        rows += estimates({AUROC: 0.1}, benchmark=name, seed=None, baseline="older", p=1.0)
        comparisons.append(comparisons_file(tmp_path, rows))
    results = read_results(metrics, comparisons)
    found = results.differences[results.differences["metric"] == AUROC]
    corrected = found.set_index(["baseline", "benchmark"])["p_holm"]
    # 0.01, 0.03, 0.04 of three: 0.03, 0.06, 0.06; the other pair is a separate family.
    assert list(corrected["old"].fillna(-1)) == pytest.approx([0.03, 0.06, 0.06, -1])
    assert list(corrected["older"]) == [1] * 4
    assert results.pairs == [("v", "old"), ("v", "older")]


@pytest.mark.parametrize(
    ("longer", "above"), [((0.2, 0.01, 0.3), True), ((0.2, -0.01, 0.3), False), (None, False)]
)
def test_above_length_needs_both_differences(
    tmp_path: Path, longer: tuple[float, float, float] | None, above: bool
) -> None:
    score = "partial_auroc.q_value"
    numbers = {f"{score} at 0.5": 0.7, f"{score}_minus_length at 0.5": (0.2, 0.1, 0.3)}
    numbers |= {f"{score}_minus_longer at 0.5": longer, f"{score} at 1": 0.7, AUROC: 0.7}
    means = read_results([metrics_file(tmp_path, estimates(numbers))]).means
    assert means["above_length"].sum() == above
    assert not above or list(means.loc[means["above_length"], "at"]) == [0.5]


# --- means over benchmarks -------------------------------------------------------------------


def over(rows: list[dict[str, Any]], **options: Any) -> Any:
    """The means over the benchmarks a and b."""
    own = [row for row in rows if "baseline" not in row]
    minus = [row for row in rows if "baseline" in row]
    results = Results(estimates_frame(own), estimates_frame(minus, "compare"))
    return over_benchmarks(results, ["a", "b"], "greedy", **options).to_dict("records")


def on(benchmark: str, *values: Any, metric: str = AUROC, **columns: Any) -> list[dict[str, Any]]:
    """Values of seeds on a benchmark; the last of several is their average."""
    seeds = [*range(len(values) - 1), None] if len(values) > 1 else [columns.pop("seed", 0)]
    return [
        row
        for seed, value in zip(seeds, values, strict=True)
        for row in estimates({metric: value}, benchmark=benchmark, seed=seed, **columns)
    ]


def test_mean_over_benchmarks_by_hand() -> None:
    """Benchmarks have different problems: squared half-widths add up, separately for each end."""
    [mean] = over(on("a", (0.6, 0.3, 0.7)) + on("b", (0.8, 0.4, 0.9)))
    assert (mean["value"], mean["n"]) == (pytest.approx(0.7), 2)
    assert mean["low"] == pytest.approx(0.7 - 0.5 / 2)
    assert mean["high"] == pytest.approx(0.7 + np.sqrt(0.02) / 2)


@pytest.mark.parametrize("columns", [{}, {"baseline": "w"}])
@pytest.mark.parametrize(
    ("on_b", "common"),
    [
        ((0.6, 0.8), 0.02),  # as on a: the covariance is the variance
        ((0.7, 0.7), 0.0),
        ((0.8, 0.6), 0.0),  # opposite: no covariance narrows the interval
    ],
)
def test_what_seeds_have_in_common_does_not_average_out(
    columns: dict[str, Any], on_b: tuple[float, float], common: float
) -> None:
    average = (0.7, 0.6, 0.8)
    rows = on("a", 0.6, 0.8, average, **columns) + on("b", *on_b, average, **columns)
    [mean] = over(rows, differences=bool(columns))
    reach = np.sqrt(2 * 0.1**2 + NORMAL**2 * 2 * common / 2) / 2
    assert (mean["value"], mean["low"]) == pytest.approx((0.7, 0.7 - reach))
    assert mean.get("baseline") == columns.get("baseline")
    if columns:  # the normal distribution with this interval
        assert mean["p"] == pytest.approx(2 * norm.sf(0.7 * NORMAL / reach))


def test_the_mean_over_one_benchmark_is_its_average_over_seeds() -> None:
    results = Results(estimates_frame(on("a", 0.5, 0.9, (0.7, 0.4, 0.8))), estimates_frame([]))
    [mean] = over_benchmarks(results, ["a"], "greedy").itertuples()
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.7, 0.4, 0.8))


@pytest.mark.parametrize(
    ("difference", "p"),
    [
        ((0.2, -0.2, 0.6), 2 * norm.sf(NORMAL * 0.2 / (0.4 / np.sqrt(2)))),
        ((-0.1, -0.3, 0.0), 2 * norm.sf(NORMAL * 0.1 / (0.15 / np.sqrt(2)))),
        ((0.0, 0.0, 0.0), 1),
        ((0.1, 0.1, 0.1), 0),
    ],
)
def test_p_of_a_mean_difference_is_that_of_the_width_of_its_interval(
    difference: tuple[float, float, float], p: float
) -> None:
    """That of one benchmark is its own."""
    rows = [row for b in "ab" for row in on(b, difference, baseline="w", p=0.3)]
    [mean] = over(rows, differences=True)
    assert mean["p"] == pytest.approx(p, abs=1e-6)
    alone = Results(estimates_frame([]), estimates_frame(rows, "compare"))
    [mean] = over_benchmarks(alone, ["a"], "greedy", differences=True).itertuples()
    assert mean.p == pytest.approx(0.3)


def test_mean_needs_all_benchmarks() -> None:
    assert over(on("a", 0.6) + on("b", None)) == []
    assert over(on("a", 0.6, 0.7, 0.65) + on("b", 0.6, None, None)) == []


@pytest.mark.parametrize(
    ("metric", "least"), [("pass@1", 0), ("auroc.reward_minus_length", -1), ("correlation.x", -1)]
)
def test_intervals_are_clipped_to_the_range(metric: str, least: float) -> None:
    [mean] = over([row for b in "ab" for row in on(b, (0.0, -9.0, 9.0), metric=metric)])
    assert (mean["low"], mean["high"]) == (least, 1)


def test_interval_has_its_coverage_over_problems_and_seeds() -> None:
    """Simulated: seeds differ, and all seeds share the error of their problems."""
    generator = np.random.default_rng(0)
    runs = 400
    luck = generator.normal(0, 0.02, (runs, 1, 2))
    values = generator.normal(0.6, 0.05, (runs, 5, 1)) + luck
    reach = NORMAL * np.sqrt(0.02**2 + values.var(axis=1, ddof=1) / 5)
    average = values.mean(axis=1)
    rows = []
    for run, (place, benchmark) in product(range(runs), enumerate("ab")):
        mean, half = average[run, place], reach[run, place]
        each = [*values[run, :, place], (mean, mean - half, mean + half)]
        rows += on(benchmark, *each, metric=str(run))
    results = Results(estimates_frame(rows), estimates_frame([], "compare"))
    means = over_benchmarks(results, ["a", "b"], "greedy")
    assert len(means) == runs
    covered = ((means["low"] < 0.6) & (means["high"] > 0.6)).mean()
    alone = np.sqrt((reach**2).sum(axis=1)) / 2  # as if each benchmark had other seeds
    assert (abs(means["value"] - 0.6) < alone).mean() + 0.01 < covered
    assert 0.88 < covered < 0.97


def test_weighted_means_and_differences_are_those_of_all_problems_resampled_at_once() -> None:
    """Two benchmarks of 80 and 30 problems, a variant and a baseline: as a slow bootstrap."""
    generator, names = np.random.default_rng(0), {"a": 80, "b": 30}
    reward: dict[Any, Any] = {}
    tables: dict[str, dict[Any, Any]] = {}
    for benchmark, problems in names.items():
        made = columns(problems, seed=problems)
        for variant in ("old", "new"):
            noise = generator.normal(0, 1 if variant == "new" else 3, problems)
            made = made | {"reward": 2 * made["label"] + noise}
            reward[benchmark, variant] = made["label"], made["reward"]
            tables.setdefault(benchmark, {})[variant, 0] = [ScoreTable.of("greedy", made)]
    options, frames, compared = MetricsSettings(bootstrap_resamples=1000, percentiles=[]), [], []
    for benchmark, models in tables.items():
        frame = compare_models(models, options, benchmark=benchmark)
        own = frame["baseline"].isna()
        frames.append(frame[own].assign(seed=0).drop(columns="baseline"))
        compared.append(frame[~own])
    results = Results(concat(frames), concat(compared))

    def aurocs(weights: dict[str, float], resampled: bool = True) -> list[float]:
        found = dict.fromkeys(("old", "new"), 0.0)
        of = plain_auroc if resampled else roc_auc_score
        for benchmark, problems in names.items():
            drawn = generator.integers(0, problems, problems) if resampled else slice(None)
            for variant in found:
                label, score = reward[benchmark, variant]
                found[variant] += weights[benchmark] * of(label[drawn], score[drawn])
        return [found["new"], found["new"] - found["old"]]

    for weighted, weights in ((False, {"a": 0.5, "b": 0.5}), (True, {"a": 8 / 11, "b": 3 / 11})):
        slow = np.array([aurocs(weights) for _ in range(1000)])
        for index, differences in enumerate((False, True)):
            found = over_benchmarks(results, ["a", "b"], "greedy", weighted, differences)
            [mean] = found[(found["metric"] == AUROC) & (found["variant"] == "new")].itertuples()
            assert mean.value == pytest.approx(aurocs(weights, resampled=False)[index])
            ends = np.quantile(slow[:, index], [0.025, 0.975])
            assert (mean.low, mean.high) == pytest.approx(ends, abs=0.012)
