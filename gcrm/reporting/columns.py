"""The numbers of a report, and the cells that its tables are pivots of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pandas import DataFrame, Index, MultiIndex, concat

from gcrm.reporting.contents import Scope
from gcrm.reporting.formats import NONE, difference, number
from gcrm.reporting.published import Published
from gcrm.reporting.results import Results
from gcrm.stats.estimates import read_all_estimates
from gcrm.stats.goals import read_measurements

NOTHING = Published()
LENGTH = "length alone"


@dataclass(frozen=True, eq=False)  # so it can be the key of a cache
class Numbers:
    """All numbers of a report.

    Attributes:
        results: metrics, and comparisons of variants.
        published: published results of the same base model.
        in_distribution: benchmarks with problems from the distribution of the preference pairs.
        goals: measurements of goal states; see `gcrm.stats.goals`.
        generated: estimates of `generate`.
    """

    results: Results
    published: Published = NOTHING
    in_distribution: Sequence[str] = ()
    goals: DataFrame = field(default_factory=lambda: read_measurements([]))
    generated: DataFrame = field(default_factory=lambda: read_all_estimates([]))

    @property
    def scope(self) -> Scope:
        """The kinds of results that there are."""
        return Scope(
            variants=self.results.variants,
            benchmarks=bool(self.results.benchmarks()),
            sampled=bool(self.results.benchmarks("all")),
            heldout=bool(self.results.benchmarks("pairs")),
            compared=bool(self.results.pairs),
            goals=list(self.goals["variant"].unique()),
            generated=list(self.generated["variant"].unique()),
        )


@dataclass(frozen=True)
class Column:
    """A column of a table: its metric and format.

    Attributes:
        at: the threshold or share of the tokens; None for any.
        star: whether to mark scores that are better than length alone.
        signed: whether to show the sign and the corrected p, for differences.
        measure: name of the measure in published numbers; default: the title.
    """

    title: str
    metric: str
    at: float | None = None
    digits: int = 3
    percent: bool = False
    interval: bool = True
    star: bool = False
    signed: bool = False
    measure: str = ""

    def text(self, row: Any) -> str:
        """The text of a cell for an estimate, a row of a data frame."""
        low, high = (row.low, row.high) if self.interval else (None, None)
        text = number(row.value, low, high, self.digits, self.percent)
        if self.signed:
            text = difference(text, row.value, row.p_holm)
        return text + " *" * bool(self.star and row.above_length)


AUROC = Column("", "auroc.reward", star=True, measure="auroc")
PREFERENCE = Column(
    "", "pairwise_accuracy.reward", percent=True, star=True, measure="pairwise accuracy"
)
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


def with_differences(results: Results, split: str, columns: Sequence[Column]) -> DataFrame:
    """The cells of variants, whose `baseline` is none, and of their differences from others."""
    signed = [replace(column, signed=True, star=False) for column in columns]
    own = cells(results.rows(split), columns).assign(baseline=NONE)
    return concat([own, cells(results.mean_differences(split), signed)], ignore_index=True)


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


def titles_of(columns: Sequence[Column]) -> list[str]:
    """The titles of columns."""
    return [column.title for column in columns]


def correlation_columns(results: Results, title: str = "{:g}", **how: Any) -> list[Column]:
    """Columns of the Pearson correlation of Q-value and partial reward, by share of the tokens."""
    shares = results.shares("correlation.")
    return [Column(title.format(p), "correlation.pearson", p, digits=2, **how) for p in shares]
