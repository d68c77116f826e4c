"""A table of the report as a web page of its own, and for LaTeX (booktabs)."""

from collections.abc import Sequence
from html import escape

Table = Sequence[Sequence[str]]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem; }}
h1 {{ font-size: 1.2rem; }}
{style}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
TABLE_STYLE = """div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: right; white-space: nowrap; }
thead { border-top: 2px solid; border-bottom: 1px solid; }
tbody { border-bottom: 2px solid; }
tbody tr:nth-child(even) { background: #f3f3f3; }
.text { text-align: left; }"""
LATEX = {
    "\\": r"\textbackslash{}",
    "–": "--",
    "…": r"\ldots{}",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
    # A row that begins with these would be taken for an option of the line break before it.
    "[": "{[}",
    "*": "{*}",
}


def page(title: str, style: str, body: str) -> str:
    """A web page that runs no script and loads nothing; `title` is text, `body` is HTML."""
    return PAGE.format(title=escape(title), style=style, body=body)


def html(rows: Table, texts: int, title: str) -> str:
    """A page with one table; row 0 is the head, the first `texts` columns are words."""
    head, *body = (
        "<tr>" + "".join(_cell(cell, column < texts, tag) for column, cell in enumerate(row))
        for row, tag in zip(rows, ["th", *["td"] * (len(rows) - 1)], strict=True)
    )
    lines = ["<div><table>", f"<thead>{head}</thead>", "<tbody>", *body, "</tbody>"]
    return page(title, TABLE_STYLE, "\n".join([*lines, "</table></div>"]))


def _cell(text: str, is_text: bool, tag: str) -> str:
    kind = ' class="text"' if is_text else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"


def latex(rows: Table, texts: int, caption: str, label: str) -> str:
    """A LaTeX table for the package booktabs; arguments as for `html`."""
    columns = "l" * texts + "r" * (len(rows[0]) - texts)
    lines = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    return "".join(LATEX.get(mark, mark) for mark in text)
