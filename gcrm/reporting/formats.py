"""Tables of text: for the terminal, in Markdown, and as CSV, from the same cells."""

import csv
import io
from collections.abc import Sequence
from typing import Any

Table = Sequence[Sequence[str]]


def number(estimate: dict[str, Any] | None, digits: int = 3, percent: bool = False) -> str:
    """`0.731 [0.702, 0.760]`, without brackets where there is no interval; `–` for no value."""
    if estimate is None or estimate.get("value") is None:
        return "–"
    scale, digits = (100.0, 1) if percent else (1.0, digits)
    text = f"{estimate['value'] * scale:z.{digits}f}"  # z: never -0.0
    if estimate.get("interval"):
        low, high = (f"{end * scale:z.{digits}f}" for end in estimate["interval"])
        text += f" [{low}, {high}]"
    return text


def p_value(p: float | None) -> str:
    """`0.034`, or `<0.001`; `–` for none."""
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def fixed_width(rows: Table) -> str:
    """Columns for the terminal, all but the first aligned to the right; row 0 is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def markdown(rows: Table, texts: int = 1) -> str:
    """A Markdown table; row 0 is the head, the first `texts` columns are text, others numbers."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    rule = "|" + "|".join([" --- "] * texts + [" ---: "] * (len(rows[0]) - texts)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def comma_separated(rows: Sequence[Sequence[Any]]) -> str:
    """CSV; row 0 is the head, None an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
