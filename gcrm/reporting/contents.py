"""The list of figures and tables of a report, with their files and their labels in Snakemake.

The rule declares these files, and the stage writes them. This module loads no data and no library.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gcrm.config.run import Config

TABLE_FORMATS = ("html", "md", "tex", "csv")
"""formats of each table; CSV has all estimates"""
FOR_TOKENS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""files of a model's first seed that the page of solutions needs"""
SOLUTIONS = "solutions.html"
TOGETHER = 6
"""largest number of variants in one figure of lines"""


@dataclass(frozen=True)
class Item:
    """A figure or a table.

    Attributes:
        kind: key of the function that makes it; its caption is workflow/report/<kind>.rst.
        category, title: its labels in Snakemake's report.
        subject: the variant or score that it shows, if there is one figure for each.
        group: its number, if the variants are split among several figures.
        variants: the variants of its group; empty for all.
    """

    kind: str
    category: str
    title: str
    subject: str = ""
    group: str = ""
    variants: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its files, without suffix."""
        return "_".join(filter(None, [self.kind, self.subject, self.group]))


@dataclass(frozen=True)
class Scope:
    """The kinds of results that a run has.

    Attributes:
        variants: names of the variants.
        benchmarks: whether there are benchmarks.
        sampled: whether a benchmark has samples to vote.
        heldout: whether there are held-out preference sets.
        compared: whether there are variants to compare.
        goals: the variants whose samples were filtered by goal states of few examples.
        generated: the variants that filtered samples while these were generated.
    """

    variants: Sequence[str]
    benchmarks: bool = False
    sampled: bool = False
    heldout: bool = False
    compared: bool = False
    goals: Sequence[str] = ()
    generated: Sequence[str] = ()


def scope_of(config: Config) -> Scope:
    """The results that a run with this config has."""
    return Scope(
        variants=list(config.variants),
        benchmarks=bool(config.benchmarks),
        sampled=any("all" in config.splits(benchmark) for benchmark in config.benchmarks),
        heldout=bool(config.heldout),
        compared=len(config.variants) > 1,
        goals=list(config.variants) if config.goals is not None else [],
        generated=list(config.variants) if config.generated() else [],
    )


def report_files(scope: Scope) -> list[tuple[str, Item]]:
    """Figures, tables and the page of solutions, with their files in the report's folder."""
    found = [(file, item) for item in figures(scope) for file in figure_files(item)]
    found += [(file, item) for item in tables(scope) for file in table_files(item)]
    if scope.benchmarks:
        found.append((SOLUTIONS, Item("solutions", "Q-values", "solutions, token by token")))
    return found


def figures(scope: Scope) -> list[Item]:
    """The figures of a run."""
    items = []
    if scope.benchmarks:
        items += [
            Item("auroc", "AUROC", "whole solutions"),
            *_grouped(scope, Item("partial_auroc", "AUROC", "partial solutions", "reward")),
            *_grouped(scope, Item("partial_auroc", "AUROC", "partial solutions", "q_value")),
            *(Item("q_values", "Q-values", "course of solutions", name) for name in scope.variants),
            *(
                Item("rewards", "Rewards", "correct and incorrect solutions", name)
                for name in scope.variants
            ),
        ]
    if scope.heldout:
        items.append(Item("preferences", "Preferences", "preference accuracy"))
    if scope.sampled:
        items += [
            *_grouped(scope, Item("sample_auroc", "AUROC", "mean over samples", "reward")),
            *_grouped(scope, Item("sample_auroc", "AUROC", "mean over samples", "q_value")),
            *_grouped(scope, Item("votes", "Votes", "accuracy against tokens saved")),
            *_grouped(scope, Item("top_k", "Votes", "best samples by reward")),
        ]
    items += [
        Item("goals", "Q-values", "goal states of few examples", name) for name in scope.goals
    ]
    items += [
        Item("generate", "Votes", "accuracy against total cost", name) for name in scope.generated
    ]
    return [*items, *_grouped(scope, Item("training", "Training", "training curves"))]


def _grouped(scope: Scope, item: Item) -> list[Item]:
    """One figure of lines, or several for many variants; the first variant is in each of them."""
    first, *others = scope.variants
    if len(scope.variants) <= TOGETHER:
        return [item]
    size = TOGETHER - 1
    return [
        replace(item, group=str(1 + begin // size), variants=(first, *others[begin : begin + size]))
        for begin in range(0, len(others), size)
    ]


TABLES = (
    ("auroc", "AUROC", ["benchmarks"]),
    ("differences", "differences in AUROC", ["benchmarks", "compared"]),
    ("partial_auroc", "AUROC of partial solutions", ["benchmarks"]),
    ("correlation", "Q-values and partial rewards", ["benchmarks"]),
    ("variants", "variants side by side", ["benchmarks"]),
    ("means", "means over benchmarks", ["benchmarks"]),
    ("preferences", "preference accuracy", ["heldout"]),
    ("preference_differences", "differences in preferences", ["heldout", "compared"]),
    ("votes", "votes", ["sampled"]),
    ("top_k", "best samples by reward", ["sampled"]),
    ("sample_auroc", "AUROC of samples", ["sampled"]),
    ("pairwise", "couples of samples", ["sampled"]),
    ("filter", "effect of filters", ["sampled"]),
    ("vote_differences", "differences in votes", ["sampled", "compared"]),
    ("goals", "goal states of few examples", ["goals"]),
    ("generate", "filters while generating", ["generated"]),
    ("official_votes", "votes as the authors count", ["sampled"]),
)
"""kind and title of each table, and the results it needs, as attributes of `Scope`"""


def tables(scope: Scope) -> list[Item]:
    """The tables of a run."""
    return [
        Item(kind, "Tables", title)
        for kind, title, needed in TABLES
        if all(getattr(scope, name) for name in needed)
    ]


def figure_files(item: Item) -> list[str]:
    """The files of a figure in the report's folder; Snakemake's report shows the first one."""
    return [f"figures/{item.name}.svg", f"figures/{item.name}.png"]


def table_files(item: Item) -> list[str]:
    """The files of a table in the report's folder, one per format."""
    return [f"tables/{item.name}.{suffix}" for suffix in TABLE_FORMATS]


def labels(item: Item, path: str) -> dict[str, str]:
    """Labels of a file in Snakemake's report."""
    if item.category == "Tables":
        return {"table": item.title, "format": path.rpartition(".")[2]}
    of = [item.subject.replace("q_value", "Q-value"), ", ".join(item.variants)]
    return {"figure": item.title, "of": ": ".join(filter(None, of)) or "all variants"}
