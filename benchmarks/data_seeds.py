"""What holds in the default run whatever its data: six runs of it, side by side.

    make reproduce
    for k in 1 2 3 4 5; do snakemake --cores 2 --config run=tiny-data$k data_seed=$k; done
    python -m benchmarks.data_seeds

Another data seed makes other problems, another base model, other solutions and other pairs. The
table is printed as Markdown and goes to results/published/tiny-data as CSV.
"""

from pathlib import Path

import pandas as pd
from scipy.stats import ttest_1samp

from gcrm.reporting.formats import number

RUNS = ["tiny", *(f"tiny-data{k}" for k in range(1, 6))]
FOLDER = Path("results/published/tiny-data")
IN: dict[str, object] = {"benchmarks": "in distribution"}
OUT: dict[str, object] = {"benchmarks": "out of distribution"}
MEANS: dict[str, tuple[str, dict[str, object]]] = {
    "AUROC, in distribution": ("auroc.reward", IN),
    "AUROC, out of distribution": ("auroc.reward", OUT),
    "AUROC, half of the tokens, all benchmarks": ("partial_auroc.reward", {"at": 0.5}),
    "AUROC of the Q-value, half of the tokens": ("partial_auroc.q_value", {"at": 0.5}),
    "right: a random sample": ("pass@1", IN),
    "right: the best of 16 by reward": ("rm_best@n", IN),
    "right: the majority of 16": ("majority@n", IN),
    "right: the majority weighted by reward": ("rm_majority@n", IN),
    "right: the majority of those with Q-value above 0": ("filtered.majority@n", IN | {"at": 0.0}),
    "tokens saved by it": ("filtered.tokens_saved", IN | {"at": 0.0}),
}
"""what it is: metric, and its rows in the report's table of means (default: over all benchmarks)"""
OF_BASE_MODEL = ("pass@1", "majority@n")
"""metrics in which no reward model takes part"""
COSTS = {
    "cost, majority, Q-value below t dropped": "majority.q_threshold.equal_cost",
    "cost, majority, worst by reward dropped": "majority.reward_worst.equal_cost",
    "cost, best by reward, Q-value below t dropped": "best.q_threshold.equal_cost",
    "cost, best by reward, worst by reward dropped": "best.reward_worst.equal_cost",
}
"""of filters while generating: over that of plain samples that are as good"""


def main() -> None:
    """Write the table of all runs, and print it as the README has it."""
    rows = pd.concat([of_run(seed, run) for seed, run in enumerate(RUNS)], ignore_index=True)
    (FOLDER / "tables").mkdir(parents=True, exist_ok=True)
    rows.to_csv(FOLDER / "tables" / "data_seeds.csv", index=False)
    rows["estimate"] = [*map(number, rows["value"], rows["low"], rows["high"])]
    index = ["what", "variant"]
    wide = rows.pivot_table(
        index=index, columns="data_seed", values="estimate", aggfunc="first", sort=False
    )
    of_all = rows.groupby(index, sort=False)[["value", "low", "high", "reference"]]
    wide["in how many"], wide["mean"] = of_all.apply(beyond), of_all.apply(mean)
    print(wide.reset_index().to_markdown(index=False))


def beyond(rows: pd.DataFrame) -> str:
    """In how many runs the interval lies above the reference, and in how many below it."""
    if rows["reference"].isna().all():
        return ""
    above, below = rows["low"] > rows["reference"], rows["high"] < rows["reference"]
    return f"{above.sum()} above, {below.sum()} below {rows['reference'].iloc[0]:g}"


def mean(rows: pd.DataFrame) -> str:
    """The mean of a difference over the runs, with its 95 % interval by Student's t."""
    if (rows["reference"] != 0).any():
        return ""
    low, high = ttest_1samp(rows["value"], 0).confidence_interval(0.95)
    return number(rows["value"].mean(), low, high)


def of_run(seed: int, run: str) -> pd.DataFrame:
    """Estimates of one run: data_seed, what, variant, value, low, high, and their reference."""
    tables = Path("results") / run / "report" / "tables"
    means, generate = pd.read_csv(tables / "means.csv"), pd.read_csv(tables / "generate.csv")
    found = []
    for what, (metric, where) in MEANS.items():
        chosen = {"benchmarks": "all", "weights": "equal", "metric": metric} | where
        rows = means[(means[list(chosen)] == pd.Series(chosen)).all(axis=1)]
        compared = rows["baseline"].notna()
        names = rows["variant"].where(~compared, "contrastive − vanilla")
        if metric in OF_BASE_MODEL:
            rows = rows[rows["variant"] == "vanilla"]
            names = pd.Series("base model", rows.index)
        reference = compared.map({True: 0.0, False: 0.5 if "auroc" in metric else None})
        found.append(rows.assign(what=what, variant=names, reference=reference))
    for what, metric in COSTS.items():
        found.append(generate[generate["metric"] == metric].assign(what=what, reference=1.0))
    columns = ["data_seed", "what", "variant", "value", "low", "high", "reference"]
    return pd.concat(found, ignore_index=True).assign(data_seed=seed)[columns]


if __name__ == "__main__":
    main()
