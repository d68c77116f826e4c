"""The metrics of a model as tables of text, for the terminal."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gcrm.reporting.formats import p_value

SOLUTIONS = {
    "num_completions": "n",
    "correct": "correct % [95 %]",
    "auroc.reward": "AUROC [95 %]",
    "auroc.length": "by length",
    "auroc.reward_minus_length": "reward - length [95 %]",
}
PAIRS = {
    "num_pairs": "pairs",
    "pairwise_accuracy.reward": "reward [95 %]",
    "pairwise_accuracy.q_value": "Q-value",
    "pairwise_accuracy.length": "shorter",
    "pairwise_accuracy.longer": "longer",
    "margin": "margin [95 %]",
    "num_ties": "ties",
    "num_truncated": "cut off",
    "num_left_out": "left out",
}
CURVES = {
    "partial_auroc": "AUROC of {} of the tokens so far",
    "partial_pairwise_accuracy": "% of pairs with chosen above, by {} of the tokens so far",
}
SCORES = {"reward": "partial rewards", "q_value": "Q-values"}
VOTES = ("pass@1", "majority@n", "rm_majority@n", "rm_best@n", "pass@n")
FILTERS = {
    "filtered": "majority@n, Q >= {:g}",
    "chosen_filter": "majority@n, Q >= chosen threshold",
    "length_filter": "majority@n, length <= chosen",
}


def describe(model: str, metrics: pd.DataFrame) -> str:
    """The metrics of several benchmarks and held-out sets as tables of text.

    Args:
        metrics: as `gcrm.stats.compute.compute_metrics` gives them.
    """
    solutions, pairs = (metrics[metrics["split"] == split] for split in ("greedy", "pairs"))
    parts = []
    if len(solutions):
        parts += [f"{model}: reward against correctness", _table(solutions, SOLUTIONS)]
        reasons = solutions[solutions["metric"].eq("auroc.reward") & solutions["reason"].notna()]
        parts += [f"{each.benchmark}: no AUROC: {each.reason}" for each in reasons.itertuples()]
    if len(pairs):
        title = "% of pairs with the chosen side above"
        parts += [f"{model}: {title}", _table(pairs, PAIRS)]
    parts += _curves(metrics)
    for benchmark, found in metrics[metrics["split"] == "all"].groupby("benchmark", sort=False):
        parts += ["", f"{benchmark}: votes over samples, % of problems right", _votes(found)]
    return "\n".join(parts) + "\n"


def _table(metrics: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """A row a benchmark; titles with "[95 %]" have intervals."""
    rows = {}
    for benchmark, found in metrics.groupby("benchmark", sort=False):
        by_metric = _by_metric(found)
        rows[benchmark] = {
            title: _cell(by_metric[metric], "[95 %]" in title) for metric, title in columns.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index").to_string()


def _curves(metrics: pd.DataFrame) -> list[str]:
    """Partial scores: a row a benchmark, a column a share of the tokens."""
    parts = []
    for kind, title in CURVES.items():
        for score, name in SCORES.items():
            curve = metrics[metrics["metric"].eq(f"{kind}.{score}") & metrics["at"].notna()]
            if len(curve):
                cells = [_cell(estimate) for estimate in curve.itertuples()]
                table = curve.assign(cell=cells).pivot(
                    index="benchmark", columns="at", values="cell"
                )
                table = table.loc[curve["benchmark"].unique()]  # not sorted by name
                table = table.rename(columns="{:g}".format)
                table = table.rename_axis(columns="after a share of", index=None)
                parts += ["", title.format(name), table.to_string()]
    return parts


def _votes(metrics: pd.DataFrame) -> str:
    """The votes of one benchmark."""
    found = _by_metric(metrics)
    right, official, saved = "right % [95 %]", "official rules [95 %]", "tokens saved % [95 %]"
    rows = {vote: {right: _cell(found[vote], interval=True)} for vote in VOTES}
    rows["majority@n"][official] = _cell(found["official.majority@n"], interval=True)
    for name, title in FILTERS.items():
        vote = found[f"{name}.majority@n"]
        if pd.isna(vote.value):
            continue
        rows[title.format(vote.at)] = {
            right: _cell(vote, interval=True),
            official: _cell(found.get(f"official.{name}.majority@n"), interval=True),
            "p": p_value(found[f"{name}.change"].p),
            saved: _cell(found[f"{name}.tokens_saved"], interval=True),
        }
    columns = [right, official, "p", saved]
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
    return table.to_string(na_rep="")


def _by_metric(metrics: pd.DataFrame) -> dict[str, Any]:
    """The first estimate of each metric."""
    return {str(row.metric): row for row in metrics.drop_duplicates("metric").itertuples()}


def _cell(estimate: Any, interval: bool = False) -> str:
    """A number, with its interval if asked for; shares in %."""
    if estimate is None or pd.isna(estimate.value):
        return "" if estimate is None else "-"
    metric, low, high = estimate.metric, estimate.low, estimate.high
    if metric.startswith("num_"):
        return f"{estimate.value:.0f}"
    in_percent = not ("auroc" in metric or metric == "margin")
    numbers = [estimate.value, low, high] if interval and pd.notna(low) else [estimate.value]
    shown = [f"{100 * x:.1f}" if in_percent else f"{x:.3f}" for x in numbers]
    return shown[0] if len(shown) == 1 else f"{shown[0]} [{shown[1]}, {shown[2]}]"
