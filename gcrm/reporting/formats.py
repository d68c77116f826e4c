"""Formatting of numbers and tables: plain text, Markdown, LaTeX (booktabs) and HTML."""

from collections.abc import Callable
from math import isnan

from pandas import DataFrame

from gcrm.reporting.templates import render

NONE = "–"
"""shown for a missing number"""
LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"–": "--", "−": "$-$", "…": r"\ldots{}", "≥": r"$\geq$", "×": r"$\times$"}
    # At the start of a row, LaTeX reads these as arguments of the previous line break.
    | {"[": "{[}", "*": "{*}"}
)


def number(
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    digits: int = 3,
    percent: bool = False,
) -> str:
    """`0.731 [0.702, 0.760]`; `0.731` without an interval, `–` without a value."""
    if value is None or isnan(value):
        return NONE
    scale, digits = (100.0, 1) if percent else (1.0, digits)
    text = f"{value * scale:z.{digits}f}"  # z: never -0.0
    if low is None or high is None or isnan(low) or isnan(high):
        return text
    return f"{text} [{low * scale:z.{digits}f}, {high * scale:z.{digits}f}]"


def p_value(p: float | None) -> str:
    """`0.034` or `<0.001`; `–` for a missing value."""
    if p is None or isnan(p):
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def difference(text: str, value: float, p: float | None) -> str:
    """`+0.021 [0.003, 0.040], p = 0.034` of the text of a number; without p if there is none."""
    sign = "+" if value > 0 else ""
    if p is None or isnan(p):
        return f"{sign}{text}"
    return f"{sign}{text}, p {'<0.001' if p < 0.001 else f'= {p_value(p)}'}"


def fixed_width(table: DataFrame, texts: int = 1, most: int = 40) -> str:
    """A table for the terminal; cells longer than `most` are cut off."""
    cut = _mapped(table, lambda cell: cell if len(cell) <= most else f"{cell[: most - 1]}…")
    return _tabulate(cut, "simple", texts)


def markdown(table: DataFrame, texts: int = 1) -> str:
    """A Markdown table; the first `texts` columns are words, the others numbers."""
    return _tabulate(_mapped(table, lambda cell: cell.replace("|", "\\|")), "pipe", texts)


def latex(table: DataFrame, texts: int, caption: str, label: str) -> str:
    """A LaTeX table for the package booktabs; `texts` as for `markdown`."""
    styler = _mapped(table, lambda cell: cell.translate(LATEX)).style.hide(axis="index")
    return "% needs \\usepackage{booktabs}\n" + styler.to_latex(
        column_format="l" * texts + "r" * (len(table.columns) - texts),
        caption=caption.translate(LATEX),
        label=f"tab:{label}",
        position_float="centering",
        hrules=True,
    )


def html(table: DataFrame, texts: int, title: str) -> str:
    """An HTML page with one table and no external resources; `texts` as for `markdown`."""
    styler = table.style.hide(axis="index").format(escape="html")
    styler = styler.format_index(escape="html", axis="columns")
    body = styler.set_uuid("table").to_html(exclude_styles=True)
    return render("table.html.j2", title=title, table=body, texts=texts)


def _tabulate(table: DataFrame, style: str, texts: int) -> str:
    """A table in a format of tabulate; words are aligned left, numbers right."""
    align = ["left"] * texts + ["right"] * (len(table.columns) - texts)
    return table.to_markdown(index=False, tablefmt=style, colalign=align, disable_numparse=True)


def _mapped(table: DataFrame, change: Callable[[str], str]) -> DataFrame:
    """Apply a function to all cells and column names."""
    return table.map(change).set_axis([change(name) for name in table.columns], axis="columns")
