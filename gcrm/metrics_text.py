"""The metrics of a model as tables of text, for the terminal."""

from typing import Any

from gcrm.tables import fixed_width, number, p_value

Json = dict[str, Any]


def describe(model: str, metrics: dict[str, Json]) -> str:
    """The metrics of several benchmarks as tables of text."""
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
        parts.append(_describe_partial(metrics, column, title))
    for name, found in metrics.items():
        if "reason" not in found["voting"]:
            parts += [
                f"\n{name}: votes over samples, % of problems right\n",
                _votes(found["voting"]),
            ]
    return "".join(parts)


def _describe_partial(metrics: dict[str, Json], column: str, title: str) -> str:
    found = {name: each["partial_auroc"][column] for name, each in metrics.items()}
    found = {name: each for name, each in found.items() if "reason" not in each}
    if not found:
        return ""
    percentiles = list(next(iter(found.values())))
    rows = [["after a share of", *percentiles]]
    for name, each in found.items():
        rows.append([name, *(number(each[p] | {"interval": None}) for p in percentiles)])
    return f"\nAUROC of {title} of the tokens so far\n" + fixed_width(rows)


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
    chosen = voting["filter_chosen"]
    if "reason" not in chosen:
        cells = [percent(chosen["accuracy"]), "", p_value(chosen["difference"]["p"])]
        rows.append(["majority, Q >= chosen t", *cells, percent(chosen["tokens_saved"])])
    for name, title in (("reward_weighted", "weighted by reward"), ("best_of_n", "best of n")):
        rows.append([title, percent(voting[name]), "", "", ""])
    rows.append(["any of n (pass@n)", percent(voting["pass_at_n"]), "", "", ""])
    return fixed_width(rows)
