"""The tables of a report: pivots of tidy estimates; their CSV files have the estimates."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pandas import DataFrame, Index, MultiIndex, concat, isna

from gcrm.reporting.contents import Scope
from gcrm.reporting.formats import NONE, number, p_value
from gcrm.reporting.published import Published
from gcrm.reporting.results import Results, over_benchmarks

ABOVE_LENGTH = (
    "* better than length alone (shorter or longer): the 95 % intervals of both differences "
    "are above 0"
)
LENGTH = "length alone"
NOTHING = Published()


@dataclass(frozen=True)
class Numbers:
    """All numbers of a report.

    Attributes:
        results: metrics, and comparisons of variants.
        published: published results of the same base model.
        in_distribution: benchmarks with problems from the distribution of the preference pairs.
    """

    results: Results
    published: Published = NOTHING
    in_distribution: Sequence[str] = ()

    @property
    def scope(self) -> Scope:
        """The kinds of results that there are."""
        return Scope(
            variants=self.results.variants,
            benchmarks=bool(self.results.benchmarks()),
            sampled=bool(self.results.benchmarks("all")),
            heldout=bool(self.results.benchmarks("pairs")),
            compared=bool(self.results.pairs),
        )


@dataclass(frozen=True)
class Column:
    """A column of a table: its metric and format.

    Attributes:
        at: the threshold or share of the tokens; None for any.
        star: whether to mark scores that are better than length alone.
        signed: whether to show the sign and the corrected p, for differences.
    """

    title: str
    metric: str
    at: float | None = None
    digits: int = 3
    percent: bool = False
    interval: bool = True
    star: bool = False
    signed: bool = False

    def text(self, row: Any) -> str:
        """The text of a cell for an estimate, a row of a data frame."""
        low, high = (row.low, row.high) if self.interval else (None, None)
        text = number(row.value, low, high, self.digits, self.percent)
        if self.signed and row.value > 0:
            text = f"+{text}"
        if self.signed and not isna(row.p_holm):
            p = p_value(row.p_holm)
            text += f", p {p if p.startswith('<') else f'= {p}'}"
        return text + " *" * bool(self.star and row.above_length)


AUROC = Column("", "auroc.reward", star=True)
PREFERENCE = Column("", "pairwise_accuracy.reward", percent=True, star=True)
VOTES = [
    Column("one sample", "pass@1", percent=True),
    Column("majority", "majority@n", percent=True),
    Column("Q-filtered", "filtered.majority@n", percent=True),
    Column("tokens saved", "filtered.tokens_saved", percent=True),
    Column("Q-filtered, chosen t", "chosen_filter.majority@n", percent=True),
    Column("tokens saved, chosen t", "chosen_filter.tokens_saved", percent=True),
    Column("weighted by reward", "rm_majority@n", percent=True),
    Column("best of n", "rm_best@n", percent=True),
    Column("any of n", "pass@n", percent=True),
]
MAIN_VOTES = VOTES[1:4]
OFFICIAL_VOTES = [
    Column("majority", "official.majority@n", percent=True),
    Column("Q-filtered", "official.filtered.majority@n", percent=True),
    Column("correct before", "official.filtered.correct_before", percent=True),
    Column("correct after", "official.filtered.correct_after", percent=True),
    Column("tokens saved", "official.filtered.tokens_saved", percent=True),
]
FILTERED = [
    Column("correct votes: change", "change", percent=True, signed=True),
    Column("tokens saved", "tokens_saved", percent=True),
    Column("samples dropped", "samples_dropped", percent=True),
    Column("correct samples before", "correct_before", percent=True),
    Column("correct samples after", "correct_after", percent=True),
]
DIFFERENCES = {
    "greedy": [
        Column("reward", "auroc.reward", signed=True),
        Column("reward, half the tokens", "partial_auroc.reward", 0.5, signed=True),
        Column("Q-value, half the tokens", "partial_auroc.q_value", 0.5, signed=True),
        Column("Q-value, last token", "partial_auroc.q_value", 1, signed=True),
    ],
    "all": [replace(VOTES[i], signed=True) for i in (2, 4, 5, 6, 7)],
    "pairs": [
        Column(title, metric, at, percent=True, signed=True)
        for title, metric, at in (
            ("reward", "pairwise_accuracy.reward", None),
            ("reward, half the tokens", "partial_pairwise_accuracy.reward", 0.5),
            ("Q-value, half the tokens", "partial_pairwise_accuracy.q_value", 0.5),
            ("Q-value, last token", "pairwise_accuracy.q_value", None),
        )
    ],
}
"""columns of the tables of differences by split; columns without estimates are left out"""


def cells(rows: DataFrame, columns: Iterable[Column]) -> DataFrame:
    """The estimates in the columns, each with the `title` and `text` of its cell."""
    found = [rows.head(0).assign(title="", text="")]
    for column in columns:
        chosen = rows[rows["metric"] == column.metric]
        if column.at is not None:
            chosen = chosen[chosen["at"] == column.at]
        texts = [column.text(row) for row in chosen.itertuples(index=False)]
        found.append(chosen.assign(title=column.title, text=texts))
    return concat(found, ignore_index=True)


def pivot(found: DataFrame, titles: Sequence[str], **by: Sequence[str]) -> DataFrame:
    """A table of the texts of cells, with a row per combination of `by` and a column per title.

    If a cell has several texts (such as a number common to all variants), the first is shown.
    Combinations without estimates have no row.

    Args:
        by: columns of `found`, with their values in the order of the rows.
    """
    texts = found.drop_duplicates([*by, "title"]).set_index([*by, "title"])["text"]
    table = texts.astype(object).unstack().reindex(columns=Index(titles, dtype=object))
    order = MultiIndex.from_product(list(by.values())) if len(by) > 1 else Index(*by.values())
    table = table.loc[[key for key in order if key in table.index]]
    return table.astype(object).fillna(NONE).reset_index(names=list(by), allow_duplicates=True)


def side_by_side(results: Results, split: str, published: Published = NOTHING) -> DataFrame:
    """Benchmark × variant: AUROC (held-out sets: preference accuracy) of rewards and of length.

    Published numbers are in separate columns.
    """
    if split == "pairs":
        score, name, length = PREFERENCE, "held-out set", "shorter is better"
        first = [Column("pairs", "num_pairs", digits=0)]
    else:
        score, name, length = AUROC, "benchmark", LENGTH
        first = [
            Column("n", "num_completions", digits=0),
            Column("correct %", "correct", percent=True, interval=False),
        ]
    alone = score.metric.replace("reward", "length")
    first.append(replace(score, title=length, metric=alone, star=False))
    rows, names = results.rows(split), results.benchmarks(split)
    scores = concat([cells(rows, [score]), published.cells([score], names)])
    scores = scores.assign(title="variant " + scores["variant"])  # a variant may be named `n`
    titles = [*_titles(first), *scores["title"].unique()]
    table = pivot(concat([cells(rows, first), scores]), titles, benchmark=names)
    heads = [name, *(head.removeprefix("variant ") for head in table.columns[1:])]
    return table.set_axis(heads, axis="columns")


def by_variant(
    results: Results, split: str, columns: Sequence[Column], published: Published = NOTHING
) -> DataFrame:
    """Benchmark and variant × the given columns; published numbers come last."""
    names = results.benchmarks(split)
    found = concat([cells(results.rows(split), columns), published.cells(columns, names)])
    variants = list(found["variant"].unique())
    return pivot(found, _titles(columns), benchmark=names, variant=variants)


def _titles(columns: Sequence[Column]) -> list[str]:
    return [column.title for column in columns]


def compact(results: Results, split: str, benchmarks: Sequence[str]) -> DataFrame:
    """Variant × benchmark: `side_by_side` without intervals, for many variants; length is first."""
    score = replace(PREFERENCE if split == "pairs" else AUROC, interval=False)
    alone = replace(score, metric=score.metric.replace("reward", "length"), star=False)
    rows = results.rows(split)
    found = concat([cells(rows, [alone]).assign(variant=LENGTH), cells(rows, [score])])
    found = found.assign(title=found["benchmark"])
    return pivot(found, benchmarks, variant=[LENGTH, *results.variants])


def every_seed(results: Results) -> DataFrame:
    """AUROC of every seed, for variants with several seeds."""
    rows = results.rows("greedy", seeds=True)
    rows = rows[rows["seed"].notna() & rows["variant"].isin(results.several)]
    found = cells(rows, [replace(AUROC, star=False)])
    found = found.assign(title=found["benchmark"], seed=found["seed"].astype(str))
    seeds = sorted(found["seed"].unique(), key=int)
    return pivot(found, results.benchmarks(), variant=results.variants, seed=seeds)


def half_table(results: Results) -> DataFrame:
    """Benchmark and variant: AUROC after half of the tokens, and of the whole length."""
    columns = [
        Column("reward so far", "partial_auroc.reward", 0.5, star=True),
        Column("Q-value", "partial_auroc.q_value", 0.5, star=True),
    ]
    table = by_variant(results, "greedy", columns)
    length = cells(results.rows("greedy"), [Column("", "auroc.length")])
    first = length.drop_duplicates("benchmark").set_index("benchmark")["text"]
    table.insert(2, f"{LENGTH}, at the end", table["benchmark"].map(first))
    return table


def partial_table(results: Results) -> DataFrame:
    """Benchmark, score and variant × share of the tokens: AUROC without intervals."""
    shares = results.shares("partial_auroc.")
    scores = {"partial rewards": "reward", "Q-values": "q_value"}
    columns = {
        score: [Column(f"{p:g}", f"partial_auroc.{name}", p, interval=False) for p in shares]
        for score, name in scores.items()
    }
    rows = results.rows("greedy")
    found = concat([cells(rows, columns[score]).assign(score=score) for score in scores])
    by = {"benchmark": results.benchmarks(), "score": [*scores], "variant": results.variants}
    return pivot(found, [f"{share:g}" for share in shares], **by)


def correlation_columns(results: Results, title: str = "{:g}", **how: Any) -> list[Column]:
    """Columns of the Pearson correlation of Q-value and partial reward, by share of the tokens."""
    shares = results.shares("correlation.")
    return [Column(title.format(p), "correlation.pearson", p, digits=2, **how) for p in shares]


def variant_means(numbers: Numbers) -> DataFrame:
    """Means over groups of benchmarks, for `variants_table`; `benchmarks` names the group."""
    results = numbers.results
    names, inside = results.benchmarks(), numbers.in_distribution
    groups = {"all": names}
    parts = [[name for name in names if (name in inside) == within] for within in (True, False)]
    if all(parts):
        groups |= zip(("in distribution", "out of distribution"), parts, strict=True)
    means = [
        over_benchmarks(results, part, "greedy").assign(benchmarks=group)
        for group, part in groups.items()
    ]
    sampled = over_benchmarks(results, results.benchmarks("all"), "all")
    rows = concat([*means, sampled.assign(benchmarks="with samples")], ignore_index=True)
    shown = [AUROC.metric, "correlation.pearson", *(column.metric for column in VOTES)]
    rows = rows[rows["metric"].isin(shown)]
    return rows[
        ["variant", "benchmarks", *(name for name in rows if name not in ("variant", "benchmarks"))]
    ]


def variants_table(numbers: Numbers) -> DataFrame:
    """Variant × means over benchmarks: AUROC, correlation of Q-value and partial reward, votes."""
    means = variant_means(numbers)
    group = means["benchmarks"]
    parts = [name for name in group.unique() if name.endswith("distribution")] or ["all"]
    aurocs = [
        replace(AUROC, title=f"AUROC {part}".removesuffix(" all"), star=False) for part in parts
    ]
    correlations = correlation_columns(numbers.results, "corr. at {:g}", interval=False)
    votes = MAIN_VOTES if numbers.results.benchmarks("all") else []
    found = [
        cells(means[group == part], [column]) for part, column in zip(parts, aurocs, strict=True)
    ]
    found += [
        cells(means[group == "all"], correlations),
        cells(means[group == "with samples"], votes),
    ]
    titles = _titles([*aurocs, *correlations, *votes])
    return pivot(concat(found), titles, variant=numbers.results.variants)


def filter_table(results: Results) -> DataFrame:
    """Benchmark and filter: the change from the vote of all samples, and what the filter saves."""
    rows = results.rows("all")
    names, variants = results.benchmarks("all"), results.variants
    kind, _, metric = (part for _, part in rows["metric"].str.partition(".").items())
    rows = rows.assign(kind=kind, metric=metric)
    rows = rows[rows["kind"].isin(["filtered", "chosen_filter", "length_filter"])]
    thresholds = [f"{at:g}" for at in results.shares("filtered.")]
    given = rows["kind"] == "filtered"
    found = cells(
        rows.assign(threshold=rows["at"].map("{:g}".format).where(given, "chosen")), FILTERED
    )
    # The length filter is the same for all models.
    found["variant"] = found["variant"].mask(found["kind"] == "length_filter", LENGTH)
    table = pivot(
        found,
        _titles(FILTERED),
        benchmark=names,
        variant=[*variants, LENGTH],
        threshold=[*thresholds, "chosen"],
    )
    return table.rename(columns={"variant": "filter"})


def details_table(results: Results) -> DataFrame:
    """Held-out set and variant: accuracy of Q-values, margin, truncated and left-out pairs."""
    columns = [
        Column("reward", "pairwise_accuracy.reward", percent=True),
        Column("reward − shorter", "pairwise_accuracy.reward_minus_length", percent=True),
        Column("reward − longer", "pairwise_accuracy.reward_minus_longer", percent=True),
        Column("Q-value", "pairwise_accuracy.q_value", percent=True),
        Column("margin", "margin"),
    ]
    counts = [
        Column("ties", "num_ties", digits=0),
        Column("cut off", "num_truncated", digits=0),
        Column("left out", "num_left_out", digits=0),
    ]
    seeds = results.rows("pairs", seeds=True)
    counted = cells(seeds[seeds["seed"].notna()], counts)
    # If the counts of the seeds differ, all are shown.
    joined = counted.groupby(["benchmark", "variant", "title"], sort=False)["text"].agg(
        lambda texts: ", ".join(texts if texts.nunique() > 1 else texts.unique())
    )
    found = concat([cells(results.rows("pairs"), columns), joined.reset_index()])
    names, titles = results.benchmarks("pairs"), _titles([*columns, *counts])
    table = pivot(found, titles, benchmark=names, variant=results.variants)
    return table.rename(columns={"benchmark": "held-out set"})


def differences_table(results: Results, split: str, only: Sequence[str] = ()) -> DataFrame:
    """Benchmark and pair of variants: the differences, each with interval and corrected p.

    Rows and columns without numbers are left out.

    Args:
        only: titles of the columns (default: all).
    """
    rows = results.differences
    rows = rows[(rows["split"] == split) & rows["seed"].isna() & rows["value"].notna()]
    columns = [each for each in DIFFERENCES[split] if not only or each.title in only]
    return _of_pairs(results, cells(rows, columns), split)


def seed_differences_table(results: Results) -> DataFrame:
    """Benchmark and pair of variants: the difference in AUROC of every seed."""
    rows = results.differences
    found = cells(rows[rows["seed"].notna()], [replace(DIFFERENCES["greedy"][0], interval=False)])
    found = found.assign(title="seed " + found["seed"].astype(str))
    return _of_pairs(results, found, "greedy")


def _of_pairs(results: Results, found: DataFrame, split: str) -> DataFrame:
    """Benchmark and pair of variants × the titles of the cells."""
    pairs, titles = found["variant"] + "\0" + found["baseline"], list(found["title"].unique())
    order = ["\0".join(pair) for pair in results.pairs]
    table = pivot(found.assign(pair=pairs), titles, benchmark=results.benchmarks(split), pair=order)
    for index, name in enumerate(("variant", "baseline")):
        table.insert(1 + index, name, table["pair"].str.split("\0").str[index])
    head = "held-out set" if split == "pairs" else "benchmark"
    return table.drop(columns="pair").rename(columns={"benchmark": head})


@dataclass(frozen=True)
class TableKind:
    """A table of the report.

    Attributes:
        caption: one line.
        cells: makes the table of texts.
        rows: makes the tidy estimates of the CSV file.
        texts: number of leading columns that are words.
    """

    caption: str
    cells: Callable[[Numbers], DataFrame]
    rows: Callable[[Numbers], DataFrame]
    texts: int = 1


def _estimates(
    split: str, metrics: str, published: Sequence[Column] = ()
) -> Callable[..., DataFrame]:
    """The estimates of all seeds of metrics that match a pattern, then published numbers."""

    def rows(numbers: Numbers) -> DataFrame:
        results = numbers.results
        found = results.rows(split, seeds=True)
        found = found[found["metric"].str.match(metrics)]
        others = numbers.published.cells(published, results.benchmarks(split))
        return concat([found, others.drop(columns=["title", "text"])]) if published else found

    return rows


def _differences(split: str) -> Callable[[Numbers], DataFrame]:
    def rows(numbers: Numbers) -> DataFrame:
        found = numbers.results.differences
        return found[(found["split"] == split) & found["value"].notna()]

    return rows


HOLM = "95 % intervals, p corrected over benchmarks (Holm)"
TABLES: dict[str, TableKind] = {
    "auroc": TableKind(
        f"AUROC of the final reward, 95 % intervals ({ABOVE_LENGTH})",
        lambda given: side_by_side(given.results, "greedy", given.published),
        _estimates("greedy", r"auroc\.|num_|correct$", [AUROC]),
    ),
    "differences": TableKind(
        f"Differences of variants in AUROC, {HOLM}",
        lambda given: differences_table(given.results, "greedy"),
        _differences("greedy"),
        texts=3,
    ),
    "partial_auroc": TableKind(
        "AUROC after a share of the tokens",
        lambda given: partial_table(given.results),
        _estimates("greedy", r"partial_auroc\."),
        texts=3,
    ),
    "correlation": TableKind(
        "Correlation of Q-values with partial rewards after a share of the tokens, 95 % intervals",
        lambda given: by_variant(given.results, "greedy", correlation_columns(given.results)),
        _estimates("greedy", r"correlation\."),
        texts=2,
    ),
    "variants": TableKind(
        "Variants side by side: means over benchmarks, 95 % intervals, votes in %",
        variants_table,
        variant_means,
    ),
    "preferences": TableKind(
        f"Preference accuracy on held-out pairs, %, 95 % intervals ({ABOVE_LENGTH})",
        lambda given: side_by_side(given.results, "pairs"),
        _estimates("pairs", ""),
    ),
    "preference_differences": TableKind(
        "Differences of variants in preference accuracy, %, 95 % intervals, p corrected over "
        "held-out sets (Holm)",
        lambda given: differences_table(given.results, "pairs"),
        _differences("pairs"),
        texts=3,
    ),
    "votes": TableKind(
        "Accuracy of votes over samples, %, 95 % intervals",
        lambda given: by_variant(given.results, "all", VOTES),
        _estimates("all", r"(?!official\.|filter_curve\.)"),
        texts=2,
    ),
    "filter": TableKind(
        f"Effect of filters on votes, %, {HOLM}",
        lambda given: filter_table(given.results),
        _estimates("all", r"(filtered|chosen_filter|length_filter|filter_curve)\."),
        texts=3,
    ),
    "vote_differences": TableKind(
        f"Differences of variants in votes and tokens saved, %, {HOLM}",
        lambda given: differences_table(given.results, "all"),
        _differences("all"),
        texts=3,
    ),
    "official_votes": TableKind(
        "Accuracy of votes over samples as the authors count, %, 95 % intervals",
        lambda given: by_variant(given.results, "all", OFFICIAL_VOTES, given.published),
        _estimates("all", r"official\.", OFFICIAL_VOTES),
        texts=2,
    ),
}
"""the tables by kind; see `gcrm.reporting.contents`"""
