"""The tables of a report by kind: their captions, their cells, and the estimates of their CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pandas import DataFrame, concat

from gcrm.reporting.columns import (
    AUROC,
    OFFICIAL_VOTES,
    PREFERENCE,
    VOTES,
    Column,
    Numbers,
    correlation_columns,
)
from gcrm.reporting.generation import generation_table
from gcrm.reporting.means import all_means, means_table, variant_means, variants_table
from gcrm.reporting.tables import (
    COUPLES,
    by_variant,
    differences_table,
    filter_table,
    goals_table,
    partial_table,
    sample_auroc_table,
    side_by_side,
    top_k_table,
)

ABOVE_LENGTH = (
    "* better than length alone (shorter or longer): the 95 % intervals of both differences "
    "are above 0"
)


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
    "means": TableKind(
        "Means over benchmarks, of each variant and of its difference from a baseline, votes in %, "
        "95 % intervals, p corrected over the groups of benchmarks (Holm)",
        means_table,
        all_means,
        texts=4,
    ),
    "preferences": TableKind(
        f"Preference accuracy on held-out pairs, %, 95 % intervals ({ABOVE_LENGTH})",
        lambda given: side_by_side(given.results, "pairs", given.published),
        _estimates("pairs", "", [PREFERENCE]),
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
        _estimates(
            "all", r"(?!official\.|filter_curve\.|top_k\.|.*auroc_over_|.*pairwise_accuracy)"
        ),
        texts=2,
    ),
    "top_k": TableKind(
        "The K samples of each problem with the highest rewards: their vote, and who is right, %, "
        f"{HOLM}",
        lambda given: top_k_table(given.results),
        _estimates("all", r"top_k\."),
        texts=4,
    ),
    "sample_auroc": TableKind(
        "AUROC as mean over samples, 95 % intervals over problems or over samples, p corrected "
        "over benchmarks (Holm)",
        lambda given: sample_auroc_table(given.results),
        _estimates("all", r"(partial_)?auroc_over_"),
        texts=3,
    ),
    "pairwise": TableKind(
        "Couples of a correct and an incorrect sample of a problem in this order, %, 95 % "
        f"intervals ({ABOVE_LENGTH})",
        lambda given: by_variant(given.results, "all", COUPLES, given.published),
        _estimates("all", r"(pooled_)?pairwise_accuracy\.", COUPLES),
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
    "goals": TableKind(
        "The filter with goal states of few, wrong or mixed examples, %: mean, lowest and highest "
        "of the draws and seeds",
        lambda given: goals_table(given.goals),
        lambda given: given.goals,
        texts=3,
    ),
    "generate": TableKind(
        "Samples that are filtered while they are generated, beside plain ones: accuracy and cost, "
        "95 % intervals",
        lambda given: generation_table(given.generated),
        lambda given: given.generated,
        texts=4,
    ),
    "official_votes": TableKind(
        "Accuracy of votes over samples as the authors count, %, 95 % intervals",
        lambda given: by_variant(given.results, "all", OFFICIAL_VOTES, given.published),
        _estimates("all", r"official\.", OFFICIAL_VOTES),
        texts=2,
    ),
}
"""the tables by kind; see `gcrm.reporting.contents`"""
