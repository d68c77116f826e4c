"""Variants on the same completions: averages over seeds, and paired differences."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from gcrm.config.compare import CompareSettings
from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable, Split
from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.compute import Source, estimates_of, read_tables, row
from gcrm.stats.estimates import estimates_frame
from gcrm.stats.matching import Completions, SharedPairs
from gcrm.stats.registry import Estimate, Scored
from gcrm.stats.seeds import BySeed, difference, over_seeds
from gcrm.utils.errors import UserError

Model = tuple[str, int]
"""a variant and a seed"""
Curve = dict[float | None, Estimate]
"""the estimates of one metric by `at`"""
Curves = dict[tuple[str, str], Curve]
"""by split and metric"""
TEXTS = ("completion", "predicted_answer")
"""columns by which completions are matched, beside those that are always read"""


def compare(
    models: Mapping[Model, Sequence[Source]],
    settings: MetricsSettings | None = None,
    baseline: str | None = None,
    pairs: Sequence[str] = (),
    benchmark: str | None = None,
    on_model: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """Compare variants on the same completions of one benchmark.

    Args:
        models: for each variant and seed its tables, or their files: of greedy solutions, with or
            without sampled ones; or of held-out pairs.
        settings: of the metrics.
        baseline: variant that all others are compared with (default: the first).
        pairs: pairs "variant:baseline" to compare instead.
        benchmark: a name for the rows.
        on_model: called when the metrics of a model are computed.

    Returns:
        One row an estimate, with the columns of `gcrm.stats.estimates`: averages over the seeds of
        each variant, and differences, variant minus baseline, of the metrics that are compared.
        The intervals take problems and seeds in. Where there are several seeds, each has a row.

    Raises:
        UserError: a file cannot be read, or models have scored different completions.
        ValueError: a variant is named that is not among the models.
    """
    variants = list(dict.fromkeys(variant for variant, _ in models))
    chosen = CompareSettings(baseline=baseline, pairs=list(pairs)).compared(variants)
    settings = settings or MetricsSettings()
    found = _curves(models, settings, on_model)
    by_variant = {
        variant: {seed: curves for (name, seed), curves in found.items() if name == variant}
        for variant in variants
    }
    rows = [
        {"variant": variant, "benchmark": benchmark} | each
        for variant, by_seed in by_variant.items()
        for each in _averages(by_seed, settings.bootstrap_seed)
    ]
    rows += [
        {"variant": variant, "baseline": other, "benchmark": benchmark} | each
        for variant, other in chosen
        for each in _differences(by_variant[variant], by_variant[other], settings.bootstrap_seed)
    ]
    return estimates_frame(rows, "compare")


def _averages(by_seed: Mapping[int, Curves], seed: int) -> Iterable[dict[str, Any]]:
    """Rows of every metric of a variant."""
    for split, metric in next(iter(by_seed.values())):
        for estimates in _aligned([curves.get((split, metric), {}) for curves in by_seed.values()]):
            each = dict(zip(by_seed, estimates, strict=True))
            yield from _rows(split, over_seeds(each, seed), each)


def _differences(
    first: Mapping[int, Curves], second: Mapping[int, Curves], seed: int
) -> Iterable[dict[str, Any]]:
    """Rows of the metrics by which variants are compared."""
    both = [*first.values(), *second.values()]
    for split, metric in both[0]:
        curves = [found.get((split, metric), {}) for found in both]
        if not any(estimate.compared for curve in curves for estimate in curve.values()):
            continue
        for estimates in _aligned(curves):
            of_first = dict(zip(first, estimates, strict=False))
            of_second = dict(zip(second, estimates[len(first) :], strict=True))
            mean, each = difference(of_first, of_second, seed)
            yield from _rows(split, mean, each)


def _rows(split: str, estimate: Estimate, by_seed: BySeed) -> Iterable[dict[str, Any]]:
    """An estimate over seeds; and the value of each seed, if there are several."""
    yield row(split, estimate)
    if len(by_seed) > 1 and estimate.value is not None:
        for seed, each in by_seed.items():
            yield row(split, each) | {"seed": seed, "low": None, "high": None, "p": None}


def _aligned(curves: Sequence[Curve]) -> list[list[Estimate]]:
    """The estimates that belong together, of all models; none of curves at other thresholds.

    If a model has none of the metric, its estimate, which has the reason, stands for all.
    """
    for curve in curves:
        if None in curve and curve[None].value is None:
            return [[curve[None]] * len(curves)]
    if any(curve.keys() != curves[0].keys() for curve in curves):
        return []
    return [[curve[at] for curve in curves] for at in curves[0]]


def _curves(
    models: Mapping[Model, Sequence[Source]],
    settings: MetricsSettings,
    on_model: Callable[[], None],
) -> dict[Model, Curves]:
    """The metrics of each model: its tables are read, put in the order of the first, and let go."""
    found: dict[Model, Curves] = {}
    bootstraps: dict[str, Bootstrap] = {}
    for model, tables in _matched(models):
        greedy = next((table for table in tables if table.split == "greedy"), None)
        curves: Curves = {}
        for table in tables:
            scored = Scored.of(table, settings, greedy, bootstraps.get(table.split))
            bootstraps[table.split] = scored.bootstrap
            for estimate in estimates_of(scored):
                curves.setdefault((table.split, estimate.metric), {})[estimate.at] = estimate
        found[model] = curves
        on_model()
    return found


def _matched(
    models: Mapping[Model, Sequence[Source]],
) -> Iterable[tuple[Model, list[ScoreTable]]]:
    """The tables of each model, with the same rows in the same order.

    Raises:
        UserError: models have scored different completions.
    """
    first: list[Completions] = []
    shared: SharedPairs | None = None
    splits: list[Split] = []
    for model, sources in models.items():
        tables, names = read_tables(sources, TEXTS), [_name(model, source) for source in sources]
        found = [table.split for table in tables]
        splits = splits or found
        if found != splits:
            raise UserError(f"{names[0]}: splits {found}, where the other models have {splits}")
        if found == ["pairs"]:
            if shared is None:
                every = {_name(other, files[0]): files for other, files in models.items()}
                shared = SharedPairs(
                    (n, read_tables(files, TEXTS)[0]) for n, files in every.items()
                )
            yield model, [shared.in_order(tables[0])]
        else:
            own = list(zip(tables, names, strict=True))
            first = first or [Completions(table, name) for table, name in own]
            yield model, [one.in_order(*table) for one, table in zip(first, own, strict=True)]


def _name(model: Model, source: Source) -> str:
    """How a table is called in messages."""
    return f"{model[0]}, seed {model[1]}" if isinstance(source, ScoreTable) else str(source)
