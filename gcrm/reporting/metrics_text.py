"""The metrics of a model as tables of text, for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from gcrm.reporting.formats import p_value

TABLES = {
    ("greedy", "reward against correctness"): {
        "num_completions": "n",
        "correct": "correct % [95 %]",
        "auroc.reward": "AUROC [95 %]",
        "auroc.length": "by length",
        "auroc.reward_minus_length": "reward - length [95 %]",
    },
    ("all", "reward against correctness, over samples"): {
        "auroc_over_problems.reward": "AUROC [95 %]",
        "pairwise_accuracy.reward": "couples in order % [95 %]",
        "pooled_pairwise_accuracy.reward": "pooled % [95 %]",
    },
    ("pairs", "% of pairs with the chosen side above"): {
        "num_pairs": "pairs",
        "pairwise_accuracy.reward": "reward [95 %]",
        "pairwise_accuracy.q_value": "Q-value",
        "pairwise_accuracy.length": "shorter",
        "pairwise_accuracy.longer": "longer",
        "margin": "margin [95 %]",
        "num_ties": "ties",
        "num_truncated": "cut off",
        "num_left_out": "left out",
    },
}
"""Columns by split and title."""
CURVES = {
    f"{metric}.{score}": (f"{title} {name} of the tokens so far", "after a share of")
    for metric, title in (
        ("partial_auroc", "AUROC of"),
        ("partial_pairwise_accuracy", "% of pairs with chosen above, by"),
    )
    for score, name in (("reward", "partial rewards"), ("q_value", "Q-values"))
} | {
    f"top_k.{metric}": (f"{title} the K samples with the highest rewards", "K")
    for metric, title in (("majority", "% of problems right by vote of"), ("correct", "% right of"))
}
"""Title and name of the columns by metric."""
VOTES = {
    **{name: name for name in ("pass@1", "majority@n", "rm_majority@n", "rm_best@n", "pass@n")},
    "filtered.majority@n": "majority@n, Q >= {:g}",
    "chosen_filter.majority@n": "majority@n, Q >= chosen threshold",
    "length_filter.majority@n": "majority@n, length <= chosen",
}


def describe(model: str, metrics: pd.DataFrame) -> str:
    """The metrics of several benchmarks and held-out sets as tables of text.

    Args:
        metrics: from `gcrm.stats.compute.compute_metrics`.
    """
    parts: list[str] = []
    for (split, title), columns in TABLES.items():
        found = metrics[metrics["split"] == split]
        if len(found):
            parts += [*[""] * bool(parts), f"{model}: {title}", _table(found, columns)]
    reasons = metrics[metrics["metric"].eq("auroc.reward") & metrics["reason"].notna()]
    parts += [f"{each.benchmark}: no AUROC: {each.reason}" for each in reasons.itertuples()]
    parts += _curves(metrics)
    for benchmark, found in metrics[metrics["split"] == "all"].groupby("benchmark", sort=False):
        parts += ["", f"{benchmark}: votes over samples, % of problems right", _votes(found)]
    return "\n".join(parts) + "\n"


def _table(metrics: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """A row a benchmark; titles with "[95 %]" have intervals."""
    rows = {}
    for benchmark, found in metrics.groupby("benchmark", sort=False):
        row = _by_metric(found)
        rows[benchmark] = {
            title: _cell(row[metric], "[95 %]" in title) for metric, title in columns.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index").to_string()


def _curves(metrics: pd.DataFrame) -> Iterator[str]:
    """A row a benchmark, a column a share of the tokens or a number of samples."""
    for metric, (title, columns) in CURVES.items():
        curve = metrics[metrics["metric"].eq(metric) & metrics["value"].notna()]
        if len(curve):
            curve = curve.assign(cell=[_cell(estimate) for estimate in curve.itertuples()])
            table = curve.pivot(index="benchmark", columns="at", values="cell").fillna("")
            table = table.loc[curve["benchmark"].unique()]  # not sorted by name
            table = table.rename(columns="{:g}".format).rename_axis(columns=columns, index=None)
            yield from ("", title, table.to_string())


def _votes(metrics: pd.DataFrame) -> str:
    """The votes of one benchmark."""
    found, rows = _by_metric(metrics), {}
    for metric, title in VOTES.items():
        vote, prefix = found[metric], metric.removesuffix("majority@n")
        if pd.notna(vote.value):
            change = found.get(f"{prefix}change")
            rows[title.format(vote.at)] = {
                "right % [95 %]": _cell(vote, interval=True),
                "official rules [95 %]": _cell(found.get(f"official.{metric}"), interval=True),
                "p": "" if change is None else p_value(change.p),
                "tokens saved % [95 %]": _cell(found.get(f"{prefix}tokens_saved"), interval=True),
            }
    return pd.DataFrame.from_dict(rows, orient="index").to_string()


def _by_metric(metrics: pd.DataFrame) -> dict[str, Any]:
    """The first estimate of each metric."""
    return {str(row.metric): row for row in metrics.drop_duplicates("metric").itertuples()}


def _cell(estimate: Any, interval: bool = False) -> str:
    """A number, with its interval if asked for; shares in %."""
    if estimate is None or pd.isna(estimate.value):
        return "" if estimate is None else "-"
    if estimate.metric.startswith("num_"):
        return f"{estimate.value:.0f}"
    is_share = not ("auroc" in estimate.metric or estimate.metric == "margin")
    value, low, high = (
        f"{100 * x:.1f}" if is_share else f"{x:.3f}"
        for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]" if interval and pd.notna(estimate.low) else value
