"""What a program says of the solutions of several methods, beside plain sampling."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from gcrm.decoding.steering import SAMPLING, Method, Outcome
from gcrm.stats.bootstrap import Bootstrap, Floats
from gcrm.stats.wins import Comparison, compare
from gcrm.utils.io import Row

ONLY_MEAN = {field.name: None for field in fields(Comparison) if field.name != "value"}
"""columns without a value for plain sampling, with which the others are compared"""


def measured(rows: Sequence[Row], measure: str) -> Floats:
    """What a program says of each solution, (n,).

    Args:
        rows: of a completion file.
        measure: correctness (0 or 1), words (how many), or count:<word> (how often it is there).
    """
    if measure == "correctness":
        return np.array([float(row["is_correct"]) for row in rows])
    words = [row["generated_solution"].split() for row in rows]
    if measure == "words":
        return np.array([float(len(each)) for each in words])
    word = measure.removeprefix("count:")
    return np.array([float(each.count(word)) for each in words])


def results(
    rows: Mapping[str, Sequence[Row]],
    methods: Sequence[Method],
    measures: Sequence[str],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One row for each method and measure: means, differences and win rates.

    Args:
        rows: solutions of each method, by its name, in the order of the problems.
        resamples, seed: of the bootstrap over problems.
    """
    baseline = rows[SAMPLING]
    bootstrap = Bootstrap.over_prompts((row["question"] for row in baseline), resamples, seed)
    found = []
    for method in methods:
        for measure in measures:
            compared = compare(
                measured(rows[method.name], measure), measured(baseline, measure), bootstrap
            )
            facts = {
                "method": method.name,
                "attribute": method.attribute or None,
                "measure": measure,
                "problems": bootstrap.problems,
            }
            only_mean = ONLY_MEAN if method.name == SAMPLING else {}
            found.append(facts | vars(compared) | only_mean)
    return found


def costs(outcomes: Mapping[str, Outcome], methods: Sequence[Method]) -> list[dict[str, Any]]:
    """What each method really took: means of tokens a problem, and the share of whole solutions."""
    return [
        {
            "method": method.name,
            "attribute": method.attribute or None,
            "generated_tokens": float(np.mean(outcomes[method.name].generated)),
            "policy_tokens": float(np.mean(outcomes[method.name].policy_tokens)),
            "reward_tokens": float(np.mean(outcomes[method.name].reward_tokens)),
            "whole": float(np.mean(outcomes[method.name].ends)),
        }
        for method in methods
    ]


def summary(table: Sequence[Mapping[str, Any]], spent: Sequence[Mapping[str, Any]]) -> str:
    """The tables as text."""
    width = max(len(row["method"]) for row in spent)
    lines = [f"{'method':{width}}  {'measure':14}    mean   win rate, 95 % interval"]
    for row in table:
        line = f"{row['method']:{width}}  {row['measure']:14} {row['value']:7.3f}"
        if row["win_rate"] is not None:
            line += "   {win_rate:.3f} [{win_rate_low:.3f}, {win_rate_high:.3f}]".format(**row)
        lines.append(line)
    lines += ["", f"{'tokens a problem':{width}}  generated  policy  reward model"]
    for row in spent:
        numbers = "{generated_tokens:9.1f}  {policy_tokens:6.0f}  {reward_tokens:12.0f}"
        lines.append(f"{row['method']:{width}}  {numbers.format(**row)}")
    return "\n".join(lines) + "\n"
