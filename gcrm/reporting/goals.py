"""The table of goal states of few, wrong or mixed examples."""

from typing import Any

from pandas import DataFrame

from gcrm.reporting.formats import NONE, number
from gcrm.stats.goals import MEASURES, over_draws

BY = ["benchmark", "variant", "kind", "examples"]
TITLES = {
    "correct_kept": "correct among the kept",
    "dropped": "dropped",
    "auroc": "AUROC, last Q-value",
    "auroc_lowest": "AUROC, smallest Q-value",
}


def goals_table(goals: DataFrame, most: bool = False) -> DataFrame:
    """Benchmark, variant, kind and number of examples: each measure, over draws and seeds.

    Args:
        goals: measurements; see `gcrm.stats.goals`.
        most: show the largest number of examples of each kind alone.
    """
    if most:
        largest = goals.groupby(["variant", "kind"])["examples"].transform("max")
        goals = goals[goals["examples"] == largest]
    found = over_draws(goals, BY)
    texts = found.assign(text=[*map(_text, found.itertuples())])
    table = texts.set_index([*BY, "measure"])["text"].astype(object).unstack()
    order = goals[BY].drop_duplicates().itertuples(index=False, name=None)
    table = table.reindex(index=[*order], columns=[*MEASURES]).fillna(NONE)
    table = table.rename_axis(index=BY, columns=None)
    named = table.reset_index().astype({"examples": str})
    return named.rename(columns={**TITLES, "kind": "goal state"})


def _text(row: Any) -> str:
    low, high = (row.low, row.high) if row.n > 1 else (None, None)
    return number(row.value, low, high, percent=not row.measure.startswith("auroc"))
