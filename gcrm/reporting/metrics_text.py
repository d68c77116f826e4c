"""The metrics of a model as tables of text, for the terminal."""

from typing import Any

from gcrm.reporting.formats import fixed_width, number, p_value

Json = dict[str, Any]


def describe(model: str, metrics: dict[str, Json], held_out: dict[str, Json]) -> str:
    """The metrics of several benchmarks and held-out preference sets as tables of text."""
    parts = [_describe_benchmarks(model, metrics)] if metrics else []
    parts += [_describe_preferences(model, held_out)] if held_out else []
    return "\n".join(parts)


def _describe_benchmarks(model: str, metrics: dict[str, Json]) -> str:
    rows = [["benchmark", "n", "correct %", "AUROC [95 %]", "by length", "reward - length"]]
    for name, found in metrics.items():
        auroc = found["auroc"]
        rows.append(
            [
                name,
                str(found["solutions"]["n"]),
                number(found["solutions"]["correct"], percent=True),
                number(auroc["reward"]),
                number(auroc["length"] | {"interval": None}),
                number(auroc["reward_minus_length"]),
            ]
        )
    parts = [f"{model}: reward against correctness\n", fixed_width(rows)]
    for name, found in metrics.items():
        if reason := found["auroc"]["reward"].get("reason"):
            parts.append(f"{name}: no AUROC: {reason}\n")
    for column, title in (("reward", "partial rewards"), ("q_value", "Q-values")):
        curves = {name: found["partial_auroc"][column] for name, found in metrics.items()}
        parts.append(_describe_partial(curves, f"AUROC of {title} of the tokens so far"))
    for name, found in metrics.items():
        if "reason" not in found["voting"]:
            parts += [
                f"\n{name}: votes over samples, % of problems right\n",
                _votes(found["voting"]),
            ]
    return "".join(parts)


def _describe_preferences(model: str, held_out: dict[str, Json]) -> str:
    rows = [["held-out set", "pairs", "reward [95 %]", "Q-value", "shorter", "longer", "margin"]]
    for name, found in held_out.items():
        accuracy = found["accuracy"]
        shares = [
            number(accuracy["reward"], percent=True),
            *(
                number(accuracy[score] | {"interval": None}, percent=True)
                for score in ("q_value", "shorter", "longer")
            ),
        ]
        rows.append([name, str(found["pairs"]["n"]), *shares, number(found["margin"])])
    parts = [f"{model}: % of pairs in which the chosen side is above\n", fixed_width(rows)]
    for name, found in held_out.items():
        pairs = found["pairs"]
        if any(pairs[key] for key in ("ties", "truncated", "left_out")):
            parts.append(
                f"{name}: {pairs['ties']} pairs with equal rewards, {pairs['truncated']} with a "
                f"side cut off, {pairs['left_out']} left out (prompt too long)\n"
            )
    for column, title in (("reward", "partial rewards"), ("q_value", "Q-values")):
        curves = {name: found["partial_accuracy"][column] for name, found in held_out.items()}
        what = f"% of pairs in which the chosen side is above, by {title} of the tokens so far"
        parts.append(_describe_partial(curves, what, percent=True))
    return "".join(parts)


def _describe_partial(curves: dict[str, Json], title: str, percent: bool = False) -> str:
    found = {name: each for name, each in curves.items() if "reason" not in each}
    if not found:
        return ""
    percentiles = list(next(iter(found.values())))
    rows = [["after a share of", *percentiles]]
    for name, each in found.items():
        cells = [number(each[p] | {"interval": None}, percent=percent) for p in percentiles]
        rows.append([name, *cells])
    return f"\n{title}\n" + fixed_width(rows)


CHOSEN = {
    "filter_chosen": "majority, Q >= chosen t",
    "length_filter_chosen": "majority, length <= chosen",
}
"""Filters whose threshold was chosen on other problems, and the control for them."""


def _votes(voting: Json) -> str:
    def percent(estimate: Json | None) -> str:
        return number(estimate, percent=True)

    official, filtered = voting["official"], voting["filtered"]
    rows = [
        ["vote", "right %", "official rules", "p", "tokens saved %"],
        ["one sample", percent(voting["mean_correct"]), "", "", ""],
        [
            "majority",
            percent(voting["majority"]["accuracy"]),
            percent(official["majority"]["accuracy"]),
            "",
            "",
        ],
    ]
    if "reason" not in filtered:
        rows.append(
            [
                f"majority, Q >= {filtered['threshold']:g}",
                percent(filtered["accuracy"]),
                percent(official["filtered"].get("accuracy")),
                p_value(filtered["difference"]["p"]),
                percent(filtered["tokens_saved"]),
            ]
        )
    for section, title in CHOSEN.items():
        chosen = voting[section]
        if "reason" not in chosen:
            cells = [percent(chosen["accuracy"]), "", p_value(chosen["difference"]["p"])]
            rows.append([title, *cells, percent(chosen["tokens_saved"])])
    for name, title in (("reward_weighted", "weighted by reward"), ("best_of_n", "best of n")):
        rows.append([title, percent(voting[name]), "", "", ""])
    rows.append(["any of n (pass@n)", percent(voting["pass_at_n"]), "", "", ""])
    return fixed_width(rows)
