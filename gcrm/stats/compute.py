"""The registered metrics of score tables as tidy tables: of one model, and of variants compared."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gcrm.config.compare import CompareSettings
from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable, Split, has_true_values, read_scores
from gcrm.stats import ranking, steps, voting  # noqa: F401  (they register their metrics)
from gcrm.stats.bootstrap import Bootstrap, interval
from gcrm.stats.estimates import estimates_frame
from gcrm.stats.matching import Completions, SharedPairs
from gcrm.stats.registry import COMPARED, METRICS, Estimate, Scored
from gcrm.stats.seeds import BySeed, difference, over_seeds
from gcrm.utils.errors import UserError

Source = ScoreTable | Path | str
"""a score table, or its file"""
Model = tuple[str, int]
"""a variant and a seed"""
Curve = dict[float | None, Estimate]
"""the estimates of one metric by `at`"""
Curves = dict[tuple[Split, str], Curve]
"""by split and metric"""
TEXTS = ("completion", "predicted_answer")
"""columns by which completions are matched, beside those that are always read"""


def compute_metrics(
    *tables: ScoreTable,
    settings: MetricsSettings | None = None,
    variant: str | None = None,
    seed: int | None = None,
    benchmark: str | None = None,
) -> pd.DataFrame:
    """All metrics of the score tables of a model on one benchmark.

    Args:
        tables: of greedy solutions, of sampled solutions, or both; or of held-out pairs.
        settings: thresholds, percentiles and the bootstrap.
        variant, seed, benchmark: names for the rows.

    Returns:
        One row an estimate, with the columns of `gcrm.stats.estimates`.
    """
    names = {"variant": variant, "seed": seed, "benchmark": benchmark}
    found = _estimates(tables, settings or MetricsSettings(), {})
    return estimates_frame(names | _row(split, estimate) for split, estimate in found)


def compare_models(
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
    settings = settings or MetricsSettings()
    variants = list(dict.fromkeys(variant for variant, _ in models))
    compared = CompareSettings(baseline=baseline, pairs=list(pairs)).compared(variants)
    found: dict[str, dict[int, Curves]] = {variant: {} for variant in variants}
    bootstraps: dict[Split, Bootstrap] = {}
    for (variant, seed), tables in _matched(models, settings):
        curves = found[variant][seed] = {}
        for split, estimate in _estimates(tables, settings, bootstraps):
            curves.setdefault((split, estimate.metric), {})[estimate.at] = estimate
        on_model()
    rows = []
    for variant, other in [*((variant, None) for variant in variants), *compared]:
        names = {"variant": variant, "baseline": other, "benchmark": benchmark}
        minus = found[other] if other else None
        rows += [names | row for row in _over_seeds(found[variant], minus, settings)]
    return estimates_frame(rows, "compare")


def read_tables(
    sources: Sequence[Source], settings: MetricsSettings, texts: Sequence[str] = ()
) -> list[ScoreTable]:
    """The tables of a model: greedy solutions, and sampled ones if there are any; or pairs.

    Args:
        sources: tables or files.
        settings: of the metrics, which need only some of the partial rewards.
        texts: columns to read beside those that metrics need.

    Raises:
        UserError: a file cannot be read, or has another split than expected.
    """
    tables: list[ScoreTable] = []
    for source in sources:
        sampled = bool(tables)
        if isinstance(source, ScoreTable):
            table, name = source, "a table"
        else:
            shares = list(dict.fromkeys(settings.percentiles + settings.correlation_percentiles))
            of_steps = has_true_values(Path(source))
            partial = ["partial_rewards"] * bool(shares or of_steps)
            columns = ["predicted_answer", "q_values", "true_values", *partial, *texts]
            shares = [] if of_steps else shares  # metrics of steps need the rewards of all tokens
            table = read_scores(Path(source), columns, shares)
            name = str(source)
        tables.append(table)
        expected = ("all",) if sampled else ("greedy", "pairs")
        if table.split not in expected:
            raise UserError(
                f"{name}: its split is {table.split!r}; expected {' or '.join(expected)} in "
                f"{'--sample_scores' if sampled else '--scores'}"
            )
        if sampled and tables[0].split == "pairs":
            raise UserError(
                "--sample_scores goes with greedy solutions in --scores, not with pairs"
            )
    return tables


def _estimates(
    tables: Sequence[ScoreTable], settings: MetricsSettings, bootstraps: dict[Split, Bootstrap]
) -> Iterator[tuple[Split, Estimate]]:
    """The estimates of each table of a model.

    Args:
        bootstraps: resamples of tables with the same rows; new ones are added.
    """
    greedy = next((table for table in tables if table.split == "greedy"), None)
    for table in tables:
        if table.split not in bootstraps:
            bootstraps[table.split] = Bootstrap.over_prompts(
                table.prompt, settings.bootstrap_resamples, settings.bootstrap_seed
            )
        scored = Scored(table, settings, bootstraps[table.split], greedy)
        for metric in METRICS[table.split]:
            for estimate in metric(scored):
                yield table.split, estimate


def _row(split: Split, estimate: Estimate) -> dict[str, Any]:
    """An estimate as a row of a tidy table, with its 95 % interval."""
    low = high = None
    if estimate.value is not None and estimate.replicates is not None:
        low, high = interval(estimate.replicates)
    names = ("metric", "at", "value", "n", "p", "reason")
    return {name: getattr(estimate, name) for name in names} | {
        "split": split,
        "low": low,
        "high": high,
    }


def _over_seeds(
    first: Mapping[int, Curves], minus: Mapping[int, Curves] | None, settings: MetricsSettings
) -> Iterator[dict[str, Any]]:
    """Rows of every metric of a variant, or of its differences from a baseline, `minus`."""
    models = [*first.values(), *(minus or {}).values()]
    for split, metric in models[0]:
        if minus is not None and metric not in COMPARED:
            continue
        for estimates in _aligned([curves.get((split, metric), {}) for curves in models]):
            each: BySeed = dict(zip(first, estimates, strict=False))
            if minus is None:
                mean = over_seeds(each, settings.bootstrap_seed)
            else:
                others = dict(zip(minus, estimates[len(first) :], strict=True))
                mean, each = difference(each, others, settings.bootstrap_seed)
            yield _row(split, mean)
            if len(each) > 1 and mean.value is not None:
                for seed, estimate in each.items():
                    row = _row(split, estimate)
                    yield row | {"seed": seed, "low": None, "high": None, "p": None}


def _aligned(curves: Sequence[Curve]) -> list[list[Estimate]]:
    """The estimates of all models at each `at`; none of curves at other thresholds.

    If a model has no number, its estimate, which has the reason, stands for all.
    """
    for curve in curves:
        if None in curve and curve[None].value is None:
            return [[curve[None]] * len(curves)]
    if any(curve.keys() != curves[0].keys() for curve in curves):
        return []
    return [[curve[at] for curve in curves] for at in curves[0]]


def _matched(
    models: Mapping[Model, Sequence[Source]], settings: MetricsSettings
) -> Iterable[tuple[Model, list[ScoreTable]]]:
    """The tables of each model, read one model at a time, with the same rows in the same order.

    Raises:
        UserError: models have scored different completions.
    """
    first: list[Completions] = []
    shared: SharedPairs | None = None
    splits: list[Split] = []
    for model, sources in models.items():
        tables = read_tables(sources, settings, TEXTS)
        names = [_name(model, source) for source in sources]
        found = [table.split for table in tables]
        splits = splits or found
        if found != splits:
            raise UserError(f"{names[0]}: splits {found}, where the other models have {splits}")
        if splits == ["pairs"]:
            shared = shared or SharedPairs(
                (_name(other, files[0]), read_tables(files, settings, TEXTS)[0])
                for other, files in models.items()
            )
            yield model, [shared.in_order(tables[0])]
        else:
            first = first or list(map(Completions, tables, names))
            matched = zip(first, tables, names, strict=True)
            yield model, [one.in_order(table, name) for one, table, name in matched]


def _name(model: Model, source: Source) -> str:
    """The name of a table in messages."""
    return f"{model[0]}, seed {model[1]}" if isinstance(source, ScoreTable) else str(source)
