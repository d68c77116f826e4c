"""Preference accuracy in the report: tables of all variants and held-out sets, and their CSV."""

from collections.abc import Sequence
from typing import Any

from gcrm.reporting.cells import starred
from gcrm.reporting.comparison_tables import comparison_table
from gcrm.reporting.formats import number
from gcrm.reporting.results import Results
from gcrm.reporting.rows import ESTIMATE, cells, flat

DIFFERENCES = {
    "reward": ("accuracy", "reward"),
    "reward, half the tokens": ("partial_accuracy", "reward", "0.5"),
    "Q-value, half the tokens": ("partial_accuracy", "q_value", "0.5"),
    "Q-value, last token": ("accuracy", "q_value"),
}
"""Columns of the table of differences, and where they stand in the comparisons."""


def preference_table(results: Results, variants: Sequence[str]) -> list[list[str]]:
    """Held-out set × variant: preference accuracy with interval, beside that of the length."""
    rows = [["held-out set", "pairs", "shorter is better", *variants]]
    for name in results.benchmarks:
        shorter = results.any_variant(name, "accuracy", "shorter")
        row = [name, _count(results, name, "n"), number(shorter, percent=True)]
        reward = ("accuracy", "reward")
        accuracies = [starred(results, v, name, reward, "shorter", percent=True) for v in variants]
        rows.append(row + accuracies)
    return rows


def details_table(results: Results) -> list[list[str]]:
    """Held-out set and variant: the Q-value, the margin, and what was cut off or left out."""
    shares = ["reward", "reward − shorter", "reward − longer", "Q-value"]
    rows = [["held-out set", "variant", *shares, "margin", "ties", "cut off", "left out"]]
    for name in results.benchmarks:
        for variant in results.variants:
            if not results.by_cell.get((variant, name)):
                continue
            shares = [
                number(results.mean(variant, name, "accuracy", score), percent=True)
                for score in ("reward", "reward_minus_shorter", "reward_minus_longer", "q_value")
            ]
            margin = number(results.mean(variant, name, "margin"))
            counts = [
                _count(results, name, count, variant) for count in ("ties", "truncated", "left_out")
            ]
            rows.append([name, variant, *shares, margin, *counts])
    return rows


def _count(results: Results, name: str, count: str, variant: str | None = None) -> str:
    """A count of the pairs of a held-out set, of each seed where they differ."""
    variants = results.variants if variant is None else [variant]
    found = [each[count] for one in variants for each in results.each(one, name, "pairs")]
    if variant is None:
        found = found[:1]
    return ", ".join(map(str, found if len(set(found)) > 1 else found[:1])) or "–"


def preference_differences(results: Results, names: Sequence[str] = ()) -> list[list[str]]:
    """Held-out set and pair of variants against the differences; the head alone without any.

    Args:
        names: columns of `DIFFERENCES` (default: all).
    """
    columns = {name: place for name, place in DIFFERENCES.items() if name in (names or DIFFERENCES)}
    rows = comparison_table(results.comparisons, columns, percent=True)
    return [["held-out set", *rows[0][1:]], *rows[1:]]


def preference_rows(results: Results) -> list[list[Any]]:
    """variant, seed, held-out set, score, share of the tokens (empty: all), and the estimate."""
    rows: list[list[Any]] = [["variant", "seed", "heldout", "score", "percentile", *ESTIMATE]]
    for where, metrics in cells(results):
        for score, estimate in metrics["accuracy"].items():
            rows.append([*where, score, None, *flat(estimate)])
        rows.append([*where, "margin", None, *flat(metrics["margin"])])
        for score, curve in metrics.get("partial_accuracy", {}).items():
            if "reason" not in curve:
                rows += [[*where, score, share, *flat(each)] for share, each in curve.items()]
    return rows
