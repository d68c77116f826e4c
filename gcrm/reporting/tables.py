"""The tables that a report may have: of each, what is read, and what its CSV file holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcrm.reporting.cells import (
    ABOVE_LENGTH,
    Cells,
    auroc_table,
    correlation_table,
    partial_table,
    variants_table,
    votes_table,
)
from gcrm.reporting.comparison_tables import AUROC, comparison_rows, comparison_table
from gcrm.reporting.comparison_tables import VOTES as VOTE_DIFFERENCES
from gcrm.reporting.contents import Scope
from gcrm.reporting.filter_table import filter_table
from gcrm.reporting.preference_tables import (
    preference_differences,
    preference_rows,
    preference_table,
)
from gcrm.reporting.published import Published
from gcrm.reporting.results import Results
from gcrm.reporting.rows import (
    OFFICIAL_VOTES,
    VOTES,
    auroc_rows,
    correlation_rows,
    filter_rows,
    official_rows,
    partial_rows,
    variant_rows,
    vote_rows,
)


@dataclass(frozen=True)
class Numbers:
    """All numbers of a report.

    Attributes:
        results: the metrics of benchmarks, with the comparisons of variants.
        heldout: the metrics of held-out preference sets.
        published: what is published for the same base model.
        in_distribution: the benchmarks whose problems are like those of the preference pairs.
    """

    results: Results = field(default_factory=Results)
    heldout: Results = field(default_factory=Results)
    published: Published = field(default_factory=Published)
    in_distribution: Sequence[str] = ()

    @property
    def models(self) -> list[tuple[str, int]]:
        """The variant and seed of each reward model, in the order of the files."""
        source = self.results if self.results.benchmarks else self.heldout
        return [(variant, seed) for variant in source.variants for seed in source.seeds(variant)]

    @property
    def scope(self) -> Scope:
        """What there is to report on."""
        return Scope(
            variants=self.results.variants or self.heldout.variants,
            benchmarks=bool(self.results.benchmarks),
            sampled=bool(self.results.sampled()),
            heldout=bool(self.heldout.benchmarks),
            compared=any(each.comparisons.pairs() for each in (self.results, self.heldout)),
        )


@dataclass(frozen=True)
class TableKind:
    """A table of the report.

    Attributes:
        caption: one line, for LaTeX and HTML.
        cells: what is read; row 0 is the head.
        rows: what the CSV file holds; row 0 is the head.
        texts: the first columns that are words and not numbers.
    """

    caption: str
    cells: Callable[[Numbers], Cells]
    rows: Callable[[Numbers], list[list[Any]]]
    texts: int = 1


TABLES: dict[str, TableKind] = {
    "auroc": TableKind(
        f"AUROC of the final reward, 95 % intervals ({ABOVE_LENGTH})",
        lambda given: auroc_table(given.results, given.results.variants, given.published),
        lambda given: auroc_rows(given.results, given.published),
    ),
    "differences": TableKind(
        "Differences of variants in AUROC, 95 % intervals, p corrected over benchmarks (Holm)",
        lambda given: comparison_table(given.results.comparisons, AUROC),
        lambda given: comparison_rows(given.results.comparisons, votes=False),
        texts=3,
    ),
    "partial_auroc": TableKind(
        "AUROC after a share of the tokens",
        lambda given: partial_table(given.results),
        lambda given: partial_rows(given.results),
        texts=3,
    ),
    "correlation": TableKind(
        "Correlation of Q-values with partial rewards after a share of the tokens, 95 % intervals",
        lambda given: correlation_table(given.results),
        lambda given: correlation_rows(given.results),
        texts=2,
    ),
    "variants": TableKind(
        "Variants side by side: means over benchmarks, 95 % intervals, votes in %",
        lambda given: variants_table(given.results, given.in_distribution),
        lambda given: variant_rows(given.results, given.in_distribution),
    ),
    "preferences": TableKind(
        f"Preference accuracy on held-out pairs, %, 95 % intervals ({ABOVE_LENGTH})",
        lambda given: preference_table(given.heldout, given.heldout.variants),
        lambda given: preference_rows(given.heldout),
    ),
    "preference_differences": TableKind(
        "Differences of variants in preference accuracy, %, 95 % intervals, p corrected over "
        "held-out sets (Holm)",
        lambda given: preference_differences(given.heldout),
        lambda given: comparison_rows(given.heldout.comparisons),
        texts=3,
    ),
    "votes": TableKind(
        "Votes over samples, % of problems right, 95 % intervals",
        lambda given: votes_table(given.results, VOTES),
        lambda given: vote_rows(given.results),
        texts=2,
    ),
    "filter": TableKind(
        "What a filter changes, %, 95 % intervals, p corrected over benchmarks (Holm)",
        lambda given: filter_table(given.results),
        lambda given: filter_rows(given.results),
        texts=3,
    ),
    "vote_differences": TableKind(
        "Differences of variants in votes and tokens saved, %, 95 % intervals, p corrected over "
        "benchmarks (Holm)",
        lambda given: comparison_table(given.results.comparisons, VOTE_DIFFERENCES, percent=True),
        lambda given: comparison_rows(given.results.comparisons, votes=True),
        texts=3,
    ),
    "official_votes": TableKind(
        "Votes over samples as the authors count them, %, 95 % intervals",
        lambda given: votes_table(given.results, OFFICIAL_VOTES, given.published),
        lambda given: official_rows(given.results, given.published),
        texts=2,
    ),
}
"""By kind: see `gcrm.reporting.contents`."""
