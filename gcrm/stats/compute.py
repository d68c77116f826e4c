"""The registered metrics of score tables as a tidy table of estimates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.stats import ranking, votes  # noqa: F401  (they register their metrics)
from gcrm.stats.bootstrap import interval
from gcrm.stats.estimates import estimates_frame
from gcrm.stats.registry import METRICS, Estimate, Scored
from gcrm.utils.errors import UserError

Source = ScoreTable | Path | str
"""a score table, or its file"""


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
    greedy = next((table for table in tables if table.split == "greedy"), None)
    rows = []
    for table in tables:
        scored = Scored.of(table, settings or MetricsSettings(), greedy)
        rows += [names | row(table.split, estimate) for estimate in estimates_of(scored)]
    return estimates_frame(rows)


def estimates_of(scored: Scored) -> list[Estimate]:
    """What the registered metrics yield of a table."""
    return [estimate for metric in METRICS[scored.table.split] for estimate in metric(scored)]


def row(split: str, estimate: Estimate) -> dict[str, Any]:
    """An estimate as a row of a tidy table, with its 95 % interval."""
    ends = None
    if estimate.value is not None and estimate.replicates is not None:
        ends = interval(estimate.replicates)
    low, high = ends or (None, None)
    shown = ("metric", "at", "value", "n", "p", "reason")
    found = {name: getattr(estimate, name) for name in shown}
    return found | {"split": split, "low": low, "high": high}


def read_tables(sources: Sequence[Source], texts: Sequence[str] = ()) -> list[ScoreTable]:
    """The tables of a model: greedy solutions, and sampled ones if there are any; or pairs.

    Args:
        sources: tables or files.
        texts: columns to read beside those that metrics need.

    Raises:
        UserError: a file cannot be read, or holds another split than its place says.
    """
    tables = []
    for place, source in enumerate(sources):
        if isinstance(source, ScoreTable):
            table = source
        else:
            partial = [] if place else ["partial_rewards"]  # votes need none
            columns = ["predicted_answer", "q_values", *partial, *texts]
            table = read_scores(Path(source), columns)
        tables.append(table)
        expected = ("all",) if place else ("greedy", "pairs")
        if table.split not in expected:
            name = "a table" if isinstance(source, ScoreTable) else source
            raise UserError(
                f"{name}: its split is {table.split!r}; expected {' or '.join(expected)} in "
                f"{'--sample_scores' if place else '--scores'}"
            )
        if place and tables[0].split == "pairs":
            raise UserError(
                "--sample_scores goes with greedy solutions in --scores, not with pairs"
            )
    return tables
