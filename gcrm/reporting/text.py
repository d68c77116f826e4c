"""The texts of a report: report.md, and summary.txt for the terminal."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pandas import DataFrame

from gcrm.config.report import ReportOptions
from gcrm.reporting.columns import MAIN_VOTES, Numbers
from gcrm.reporting.contents import SOLUTIONS, Item, figure_files, labels, table_files, tables
from gcrm.reporting.formats import fixed_width, markdown
from gcrm.reporting.generation import verdicts
from gcrm.reporting.kinds import ABOVE_LENGTH, TABLES
from gcrm.reporting.means import variants_table
from gcrm.reporting.tables import (
    by_variant,
    compact,
    details_table,
    differences_table,
    every_seed,
    goals_table,
    half_table,
    seed_differences_table,
    side_by_side,
)
from gcrm.reporting.templates import render
from gcrm.stats.seeds import ENOUGH
from gcrm.utils.io import read_json

WIDTH = 110
"""largest width of the summary in characters; only paths may be wider"""
MOST_ROWS = 8
"""largest number of rows in the summary: more votes are averaged over benchmarks, more differences
left out"""


@dataclass(frozen=True)
class Content:
    """The options, numbers and figures of a report, and whether it has a page of solutions."""

    options: ReportOptions
    label: str
    numbers: Numbers
    figures: list[Item]
    solutions: bool

    @property
    def title(self) -> str:
        """The heading of the report."""
        return f"{self.options.title}: {self.label}"

    def table(self, kind: str) -> str:
        """A table of a kind, in Markdown."""
        return markdown(TABLES[kind].cells(self.numbers), TABLES[kind].texts)

    def images(self, kind: str) -> str:
        """The figures of a kind, in Markdown."""
        return "\n\n".join(
            f"![{item.category}: {', '.join(labels(item, '').values())}]({figure_files(item)[0]})"
            for item in self.figures
            if item.kind == kind
        )

    def reasons(self) -> list[str]:
        """The reason for each benchmark without AUROC."""
        rows = self.numbers.results.rows("greedy")
        rows = rows[(rows["metric"] == "auroc.reward") & rows["reason"].notna()]
        first = rows.drop_duplicates("benchmark")
        return [f"{row.benchmark}: no AUROC: {row.reason}." for row in first.itertuples()]

    def seed_counts(self) -> str | None:
        """The number of seeds, and a caution if there are few; None for one seed per variant."""
        results = self.numbers.results
        counts = {name: len(results.seeds(name)) for name in results.variants}
        least, most = min(counts.values()), max(counts.values())
        if most < 2:
            return None
        seeds = f"{least} seeds"
        if least < most:
            seeds = "seeds (" + ", ".join(f"{name}: {n}" for name, n in counts.items()) + ")"
        text = f"Averages over {seeds}; the intervals are over problems and seeds."
        if least < ENOUGH:
            text += f" Fewer than {ENOUGH} seeds say little about other seeds."
        return text

    def compared_seeds(self, split: str) -> str:
        """What the intervals of differences generalise to."""
        rows = self.numbers.results.differences
        rows = rows[(rows["split"] == split) & rows["seed"].notna()]
        pairs = self.numbers.results.pairs
        by_pair = rows.groupby(["variant", "baseline"])["seed"].nunique()
        least = int(by_pair.min()) if len(by_pair) == len(pairs) else 1
        if least == 1:
            return "Intervals are over problems for one seed: they say nothing about other seeds."
        text = f"Intervals resample problems and the {least} seeds, paired between variants."
        return text if least >= ENOUGH else text + " Fewer than five say little about other seeds."


def report_text(content: Content) -> str:
    """The text of report.md."""
    results, options = content.numbers.results, content.options
    text = render(
        "report.md.j2",
        content=content,
        options=options,
        published=content.numbers.published,
        benchmarks=results.benchmarks(),
        sampled=results.benchmarks("all"),
        heldout=results.benchmarks("pairs"),
        pairs=results.pairs,
        several=bool(results.several),
        above_length=f"\\{ABOVE_LENGTH}.",
        every_seed=_markdown(every_seed(results), 2),
        half=_markdown(half_table(results), 2),
        details=_markdown(details_table(results), 2),
        seed_differences=_markdown(seed_differences_table(results), 3),
        data=None if options.data_report is None else read_json(options.data_report, "prepare"),
        goals=_markdown(goals_table(content.numbers.goals, most=True), 3),
        verdicts=[*verdicts(content.numbers.generated)],
        file_name=_file_name,
        tables={item.title: table_files(item) for item in tables(content.numbers.scope)},
        solutions_page=SOLUTIONS,
    )
    return _without_gaps(text)


def _file_name(source: str) -> str:
    """A source without its folders, which mean nothing on other machines."""
    return Path(source).name if Path(source).is_absolute() else source


def _markdown(table: DataFrame, texts: int) -> str:
    return markdown(table, texts) if len(table) else ""


def summary(content: Content) -> str:
    """The text of summary.txt."""
    results = content.numbers.results
    differences = differences_table(results, "pairs", ["reward"])
    few = 0 < len(differences) <= MOST_ROWS
    text = render(
        "summary.txt.j2",
        content=content,
        above_length=ABOVE_LENGTH,
        rule="=" * min(len(content.title), WIDTH),
        auroc=_scores(content, "greedy") if results.benchmarks() else "",
        preferences=_scores(content, "pairs") if results.benchmarks("pairs") else "",
        differences=fixed_width(differences, texts=3, most=32) if few else "",
        votes=_votes(content) if results.benchmarks("all") else "",
        threshold=f"{content.options.filter_threshold:g}",
        folder=content.options.save_dir,
        tables=bool(tables(content.numbers.scope)),
        solutions_page=SOLUTIONS,
    )
    return _without_gaps(text)


def _without_gaps(text: str) -> str:
    """Collapse the empty lines that omitted sections of a template leave."""
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _scores(content: Content, split: str) -> str:
    """Scores with intervals or, if that is too wide, without intervals and a row per variant."""
    results = content.numbers.results
    heading = (
        "Held-out pairs with the higher reward on the chosen side, %"
        if split == "pairs"
        else "AUROC of the final reward"
    )
    whole = fixed_width(side_by_side(results, split), most=24)
    if _width(whole) <= WIDTH:
        return f"{heading}, with 95 % intervals\n{whole}"
    blocks = _blocks(results.benchmarks(split), lambda some: compact(results, split, some))
    return f"{heading}; the report has the intervals\n{blocks}"


def _votes(content: Content) -> str:
    """Votes with and without the filter; means over benchmarks if there are many models."""
    results = content.numbers.results
    sampled = results.benchmarks("all")
    if len(sampled) * len(results.variants) <= MOST_ROWS:
        return fixed_width(by_variant(results, "all", MAIN_VOTES), texts=2, most=24)
    table = variants_table(content.numbers)
    means = fixed_width(table.iloc[:, [0, *range(-len(MAIN_VOTES), 0)]], most=24)
    return f"{means}\nMeans over {', '.join(sampled)}."


def _blocks(columns: Sequence[str], table: Callable[[Sequence[str]], DataFrame]) -> str:
    """A table split into blocks of as many columns as fit into the terminal."""
    found: list[str] = []
    left = list(columns)
    while left:
        sizes = range(len(left), 0, -1)
        texts = ((size, fixed_width(table(left[:size]), most=24)) for size in sizes)
        size, text = next((s, t) for s, t in texts if s == 1 or _width(t) <= WIDTH)
        found.append(text)
        left = left[size:]
    return "\n".join(found)


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))
