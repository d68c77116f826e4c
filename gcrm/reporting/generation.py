"""The table of samples that were filtered while they were generated, and its summary in words."""

from collections.abc import Iterator
from typing import Any

from pandas import DataFrame, concat, isna

from gcrm.reporting.columns import pivot
from gcrm.reporting.formats import difference, number
from gcrm.stats.generation import VOTES

METHODS = {
    "plain": "none",
    "q_threshold": "Q-value below t",
    "q_worst": "worst by Q-value",
    "reward_worst": "worst by reward",
}
"""titles of the methods, as filters"""
VOTE_TITLES = {"majority": "majority", "best": "best by reward"}


def split_metrics(generated: DataFrame) -> DataFrame:
    """The estimates of votes, with the columns vote, method and what of their metrics."""
    parts = generated["metric"].str.split(".", n=2, expand=True).reindex(columns=range(3))
    found = generated.assign(vote=parts[0], method=parts[1], what=parts[2])
    return found[found["vote"].isin(VOTES) & found["what"].notna()]


def generation_table(generated: DataFrame) -> DataFrame:
    """Benchmark, vote, variant and filter: accuracy, and cost beside plain sampling."""
    rows = split_metrics(generated)
    plain = rows[(rows["method"] == "plain") & (rows["what"] == "accuracy")]
    most = plain["at"].max()
    all_plain = f"{most:g} plain samples" if len(plain) else "plain samples"
    titles = {
        "accuracy": "accuracy, %",
        "change": f"change from {all_plain}",
        "relative_cost": f"cost, % of {all_plain}",
        "equal_samples": "plain samples as accurate",
        "equal_cost": "cost, % of these",
        "break_even": "pays from policy / reward model",
    }
    shown = concat([plain[plain["at"] == most], rows[rows["method"] != "plain"]])
    found = shown[shown["what"].isin([*titles])].assign(
        title=lambda given: given["what"].map(titles),
        text=lambda given: [_text(row) for row in given.itertuples()],
        filter=lambda given: given["method"].map(METHODS),
        vote=lambda given: given["vote"].map(VOTE_TITLES),
        seed=lambda given: given["seed"].astype(str),
    )
    by = {name: list(found[name].unique()) for name in ("benchmark", "vote", "variant", "seed")}
    table = pivot(found, [*titles.values()], **by, filter=[*METHODS.values()])
    return table if len(by["seed"]) > 1 else table.drop(columns="seed")


def _text(row: Any) -> str:
    if row.what in ("accuracy", "relative_cost", "equal_cost"):
        return number(row.value, row.low, row.high, percent=True)
    if row.what == "change":
        return difference(number(row.value, row.low, row.high, percent=True), row.value, row.p)
    if row.what == "break_even":
        return ratio(row.value, row.low, row.high)
    return number(row.value, row.low, row.high, digits=1)


def ratio(value: float | None, low: float | None, high: float | None) -> str:
    """`12.1 [6.0, never]`: from which ratio of parameters on it pays; `any` for all ratios."""

    def end(one: float | None) -> str:
        if one is None or isna(one):
            return "never"
        return "any" if one == 0 else f"{one:.1f}"

    return f"{end(value)} [{end(low)}, {end(high)}]"


def verdicts(generated: DataFrame) -> Iterator[str]:
    """A sentence for each vote and outcome: where a filter pays, where not, and where it is open.

    It pays where the interval of its cost, beside that of plain samples that are as accurate, is
    below 1.
    """
    rows = split_metrics(generated)
    costs = rows[(rows["what"] == "equal_cost") & rows["value"].notna()]
    for vote in VOTES:
        here = costs[costs["vote"] == vote]
        for outcome, chosen in (
            ("pays", here["high"] < 1),
            ("does not pay here", here["low"] > 1),
            ("is not shown to pay or to cost", (here["low"] <= 1) & (here["high"] >= 1)),
        ):
            if chosen.any():
                cases = "; ".join(map(_case, here[chosen].itertuples()))
                yield f"For the vote *{VOTE_TITLES[vote]}*, filtering {outcome}: {cases}."


def _case(row: Any) -> str:
    cost = number(row.value, row.low, row.high, percent=True)
    return f"{row.benchmark}, {row.variant}, {METHODS[row.method]} ({cost} % of the cost)"
