"""What a report consists of: its figures and tables, and how Snakemake's own report shows them.

The rule declares these files, and the stage writes them. Nothing here loads data or a library.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gcrm.config.run import Config

TABLE_FORMATS = ("html", "md", "tex", "csv")
"""To look at, to paste, to print, and with every number."""
FOR_TOKENS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files of a reward model from which solutions are shown token by token: the first seed's."""
SOLUTIONS = "solutions.html"
TOGETHER = 6
"""variants whose lines one figure can show"""


@dataclass(frozen=True)
class Part:
    """A figure or a table.

    Attributes:
        kind: what makes it; its caption is workflow/report/<kind>.rst.
        category: in Snakemake's report.
        title: in Snakemake's report.
        of: the variant or the score that it shows, where there is one for each.
        group: its number, where there are too many variants for one figure.
        variants: those of its group; empty for all.
    """

    kind: str
    category: str
    title: str
    of: str = ""
    group: str = ""
    variants: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its files, without a suffix."""
        return "_".join(filter(None, [self.kind, self.of, self.group]))


@dataclass(frozen=True)
class Scope:
    """What there is to report on.

    Attributes:
        variants: names of the reward models.
        benchmarks: whether there are benchmarks.
        sampled: whether one of them has samples to vote.
        heldout: whether there are held-out preference sets.
        compared: whether there are variants to compare.
    """

    variants: Sequence[str]
    benchmarks: bool = False
    sampled: bool = False
    heldout: bool = False
    compared: bool = False


def scope_of(config: Config) -> Scope:
    """What a run has to report on."""
    return Scope(
        variants=list(config.variants),
        benchmarks=bool(config.benchmarks),
        sampled=any("all" in config.splits(benchmark) for benchmark in config.benchmarks),
        heldout=bool(config.heldout),
        compared=len(config.variants) > 1,
    )


def report_files(scope: Scope) -> list[tuple[str, Part]]:
    """The files of figures, tables and the page of solutions, below the report's folder."""
    found = [(file, part) for part in figures(scope) for file in figure_files(part)]
    found += [(file, part) for part in tables(scope) for file in table_files(part)]
    if scope.benchmarks:
        found.append((SOLUTIONS, Part("solutions", "Q-values", "solutions, token by token")))
    return found


def figures(scope: Scope) -> list[Part]:
    """The figures of a run."""
    parts = []
    if scope.benchmarks:
        parts += [
            Part("auroc", "AUROC", "whole solutions"),
            *_grouped(scope, Part("partial_auroc", "AUROC", "partial solutions", "reward")),
            *_grouped(scope, Part("partial_auroc", "AUROC", "partial solutions", "q_value")),
            *(Part("q_values", "Q-values", "course of solutions", name) for name in scope.variants),
            *(
                Part("rewards", "Rewards", "right and wrong solutions", name)
                for name in scope.variants
            ),
        ]
    if scope.heldout:
        parts.append(Part("preferences", "Preferences", "preference accuracy"))
    if scope.sampled:
        parts += _grouped(scope, Part("votes", "Votes", "accuracy against tokens saved"))
    return [*parts, *_grouped(scope, Part("training", "Training", "training curves"))]


def _grouped(scope: Scope, part: Part) -> list[Part]:
    """A figure of lines; of many variants several, the first variant in each of them."""
    first, *others = scope.variants
    if len(scope.variants) <= TOGETHER:
        return [part]
    size = TOGETHER - 1
    return [
        replace(part, group=str(1 + begin // size), variants=(first, *others[begin : begin + size]))
        for begin in range(0, len(others), size)
    ]


TABLES = (
    ("auroc", "AUROC", ["benchmarks"]),
    ("differences", "differences in AUROC", ["benchmarks", "compared"]),
    ("partial_auroc", "AUROC of partial solutions", ["benchmarks"]),
    ("correlation", "Q-values and partial rewards", ["benchmarks"]),
    ("variants", "variants side by side", ["benchmarks"]),
    ("preferences", "preference accuracy", ["heldout"]),
    ("preference_differences", "differences in preferences", ["heldout", "compared"]),
    ("votes", "votes", ["sampled"]),
    ("filter", "what the filter changes", ["sampled"]),
    ("vote_differences", "differences in votes", ["sampled", "compared"]),
    ("official_votes", "votes as the authors count", ["sampled"]),
)
"""Kind and title of each table, and what a run needs to have for it: attributes of `Scope`."""


def tables(scope: Scope) -> list[Part]:
    """The tables of a run."""
    return [
        Part(kind, "Tables", title)
        for kind, title, needed in TABLES
        if all(getattr(scope, name) for name in needed)
    ]


def figure_files(part: Part) -> list[str]:
    """The files of a figure, below the report's folder; the first is for Snakemake's report."""
    return [f"figures/{part.name}.svg", f"figures/{part.name}.png"]


def table_files(part: Part) -> list[str]:
    """The files of a table, below the report's folder, one a format."""
    return [f"tables/{part.name}.{suffix}" for suffix in TABLE_FORMATS]


def labels(part: Part, path: str) -> dict[str, str]:
    """How Snakemake's report lists a file of a part, beside the others of its category."""
    if part.category == "Tables":
        return {"table": part.title, "format": path.rpartition(".")[2]}
    of = [part.of.replace("q_value", "Q-value"), ", ".join(part.variants)]
    return {"figure": part.title, "of": ": ".join(filter(None, of)) or "all variants"}
