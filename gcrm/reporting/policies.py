"""The page of trained policies: accuracies, their differences, and rewards over training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas import DataFrame

from gcrm.reporting.figures.style import looks, note, panels
from gcrm.reporting.formats import NONE, markdown, number, p_value
from gcrm.reporting.templates import render
from gcrm.stats.policies import GROUPS
from gcrm.utils.io import read_log

FIGURE = "figures/training"
MEASURES = {
    "greedy_reward": "reward of greedy dev solutions",
    "accuracy": "accuracy on dev problems",
    "kl": "log ratio to the base model, per token",
}
"""what the figure shows, by its name in training logs"""
Logs = Mapping[str, Mapping[int, Path]]
"""training logs by policy and seed"""


def accuracy_table(found: DataFrame) -> DataFrame:
    """Policy × groups and benchmarks: accuracy in percent, of groups with intervals."""
    own = found[found["baseline"].isna()]
    texts = own.assign(text=[_text(row) for row in own.itertuples()])
    table = texts.pivot(index="policy", columns="benchmarks", values="text")
    table = table.loc[own["policy"].unique(), own["benchmarks"].unique()]
    return table.rename_axis(columns=None).reset_index()


def differences_table(found: DataFrame) -> DataFrame:
    """Policy and baseline × groups: difference in percentage points, and p by Holm."""
    table: dict[tuple[str, str], dict[str, str]] = {}
    for row in found[found["baseline"].notna()].to_dict("records"):
        names = row["policy"], row["baseline"]
        cells = table.setdefault(names, dict(zip(("policy", "minus"), names, strict=True)))
        group = row["benchmarks"]
        cells[group] = number(row["value"], row["low"], row["high"], percent=True)
        cells[f"p, {group}"] = p_value(row["p_holm"])
    return DataFrame([*table.values()]).fillna(NONE)


def policies_page(found: DataFrame, synthetic: bool) -> str:
    """The text of report.md."""
    own = found[found["baseline"].isna()]
    return render(
        "policies.md.j2",
        synthetic=synthetic,
        seeds=sorted(own["seeds"].unique()),
        accuracy=markdown(accuracy_table(found)),
        differences=markdown(differences_table(found), 2),
        figure=f"{FIGURE}.png",
    )


def training_figure(logs: Logs, stem: Path, synthetic: bool) -> None:
    """Draw `<stem>.svg` and `<stem>.png`: means over seeds of what the logs have.

    Raises:
        UserError: a log cannot be read.
    """
    curves = read_curves(logs)
    names = [name for name in MEASURES if name in curves["measure"].unique()] or ["accuracy"]
    heading = "Policies over training" + (" (synthetic stand-in)" if synthetic else "")
    titles = [MEASURES[name] for name in names]
    labels = "optimiser step", ""
    with panels(stem, heading, titles, 3, "x", (2.6, 2.1), labels, list(logs)) as cells:
        for axes, name in zip(cells, names, strict=True):
            _draw(axes, curves[curves["measure"] == name], list(logs))
            if not axes.lines:
                note(axes, "not measured")


def _draw(axes: Any, curves: DataFrame, policies: Sequence[str]) -> None:
    """The mean over seeds of each policy, and the range of its seeds."""
    for policy, look in looks(policies).items():
        rows = curves[curves["policy"] == policy]
        by_step = rows.groupby("step")["value"].agg(["mean", "min", "max"])
        if by_step.empty:
            continue
        line = {"color": look.colour, "linestyle": look.dashes, "label": policy}
        axes.plot(by_step.index, by_step["mean"], **line)
        axes.fill_between(
            by_step.index, by_step["min"], by_step["max"], color=look.colour, alpha=0.12, lw=0
        )


def read_curves(logs: Logs) -> DataFrame:
    """Policy, seed, step, measure, value: the numbers of MEASURES in training logs.

    Raises:
        UserError: a log cannot be read.
    """
    rows = [
        {"policy": policy, "seed": seed, "step": row["step"], "measure": name, "value": row[name]}
        for policy, seeds in logs.items()
        for seed, file in seeds.items()
        for row in read_log(file)
        for name in MEASURES
        if row.get(name) is not None
    ]
    columns = ["policy", "seed", "step", "measure", "value"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _text(row: Any) -> str:
    low, high = (row.low, row.high) if row.benchmarks in GROUPS else (None, None)
    return number(row.value, low, high, percent=True)
