"""The report for the terminal: short, at most 110 columns, the AUROC first."""

from collections.abc import Callable, Sequence

from gcrm.reporting.cells import (
    ABOVE_LENGTH,
    auroc_table,
    plain_auroc_table,
    variants_table,
    votes_table,
)
from gcrm.reporting.contents import SOLUTIONS, tables
from gcrm.reporting.formats import fixed_width
from gcrm.reporting.preference_tables import preference_differences, preference_table
from gcrm.reporting.rows import VOTES
from gcrm.reporting.text import Content, reasons

WIDTH = 110
"""Columns at most."""
MOST_ROWS = 8
"""Rows of votes; more are averaged over benchmarks."""


def auroc_lines(content: Content) -> list[str]:
    """The AUROC table with intervals; without them, a row a variant, where it would be too wide."""
    results = content.results
    if not results.benchmarks:
        return []
    whole = fixed_width(_clipped(auroc_table(results, results.variants)))
    if _width(whole) <= WIDTH:
        parts = ["AUROC of the final reward, with 95 % intervals\n", whole]
    else:
        parts = ["AUROC of the final reward; the report has the intervals\n"]
        parts += blocks(results.benchmarks, lambda some: plain_auroc_table(results, some))
    parts += [ABOVE_LENGTH + ".\n", *(line + "\n" for line in reasons(results))]
    if seeds := content.seed_counts():
        parts.append(seeds.replace("seeds. Fewer", "seeds.\nFewer") + "\n")
    return parts


def preferences_lines(content: Content) -> list[str]:
    """Preference accuracy on held-out pairs."""
    heldout = content.numbers.heldout
    if not heldout.benchmarks:
        return []
    head = "Held-out pairs with the higher reward on the chosen side, %, with 95 % intervals\n"
    parts = ["\n" if content.results.benchmarks else "", head]
    parts += blocks(heldout.variants, lambda some: preference_table(heldout, some))
    parts.append(ABOVE_LENGTH + ".\n")
    differences = preference_differences(heldout, ["reward"])
    if len(differences) > 1:
        parts.append("\nVariant minus baseline on the same pairs, % of pairs\n")
        parts.append(fixed_width(_clipped(differences, 32)))
    return parts


def votes_lines(content: Content) -> list[str]:
    """What the filter costs and saves."""
    results = content.results
    sampled = results.sampled()
    if not sampled:
        return []
    head = f"\nMajority vote over samples, % of problems right; filter: Q >= {content.threshold}\n"
    if len(sampled) * len(results.variants) > MOST_ROWS:
        rows = variants_table(results, content.options.in_distribution)
        last = len(rows[0]) - 3
        means = [[row[0], *row[last:]] for row in rows]
        return [head, fixed_width(_clipped(means)), f"Means over {', '.join(sampled)}.\n"]
    columns = {name: VOTES[name] for name in ("majority", "Q-filtered", "tokens saved")}
    return [head, fixed_width(_clipped(votes_table(results, columns)))]


def where_lines(content: Content) -> list[str]:
    """Where everything lies."""
    folder = content.options.save_dir
    lines = [f"\nReport:     {folder / 'report.md'}\n"]
    if tables(content.numbers.scope):
        lines.append(f"Tables:     {folder / 'tables'}/*.html, .md, .tex, .csv\n")
    lines.append(f"Figures:    {folder / 'figures'}/*.svg, .png\n")
    if content.solutions:
        lines.append(f"Solutions:  {folder / SOLUTIONS}, their tokens coloured by Q-value\n")
    return lines


SECTIONS: list[Callable[[Content], list[str]]] = [
    auroc_lines,
    preferences_lines,
    votes_lines,
    where_lines,
]
"""Each gives lines that end with a new line, or nothing."""


def summary(content: Content) -> str:
    """The whole of summary.txt; only paths may be wider than `WIDTH`."""
    title = content.title
    parts = [f"{title}\n{'=' * min(len(title), WIDTH)}\n"]
    return "".join(parts + [part for section in SECTIONS for part in section(content)])


def blocks(columns: Sequence[str], table: Callable[[Sequence[str]], list[list[str]]]) -> list[str]:
    """A table with as many columns side by side as the terminal takes, then those that are left."""
    found: list[str] = []
    left = list(columns)
    while left:
        count = len(left)
        text = fixed_width(_clipped(table(left[:count])))
        while count > 1 and _width(text) > WIDTH:
            count -= 1
            text = fixed_width(_clipped(table(left[:count])))
        found.append(text)
        left = left[count:]
    return found


def _width(text: str) -> int:
    return max(len(line) for line in text.splitlines())


def _clipped(rows: list[list[str]], most: int = 24) -> list[list[str]]:
    return [[cell if len(cell) <= most else cell[: most - 1] + "…" for cell in row] for row in rows]
