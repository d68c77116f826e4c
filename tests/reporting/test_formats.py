"""Formatting of numbers and tables; cells are escaped."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas import DataFrame

from gcrm.reporting.formats import fixed_width, html, latex, markdown, number, p_value


@pytest.mark.parametrize(
    ("estimate", "percent", "text"),
    [
        ((0.7311, 0.7, 0.76), False, "0.731 [0.700, 0.760]"),
        ((0.5,), True, "50.0"),
        ((-0.0001, -0.0004, 0.02), True, "0.0 [0.0, 2.0]"),  # a small loss is not -0.0
        ((float("nan"), 0.1, 0.2), False, "–"),
        ((None,), False, "–"),
    ],
)
def test_number_with_interval(estimate: tuple, percent: bool, text: str) -> None:
    assert number(*estimate, percent=percent) == text


@pytest.mark.parametrize(("p", "text"), [(0.0341, "0.034"), (0.0001, "<0.001"), (None, "–")])
def test_p_value(p: float | None, text: str) -> None:
    assert p_value(p) == text


def test_fixed_width_aligns_columns_and_cuts_long_cells() -> None:
    table = DataFrame([["a", "1"], ["a-long-name", "100"]], columns=["x", "y"])
    assert [line.split() for line in fixed_width(table, most=6).splitlines()][2:] == [
        ["a", "1"],
        ["a-lon…", "100"],
    ]
    lines = fixed_width(table).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("a ") and lines[2].endswith(" 1")


HOSTILE = DataFrame(
    [["x & y", '"><img src=x onerror=alert(1)>']], columns=["a", "<script>alert(1)</script>"]
)


class Cells(HTMLParser):
    """The text of all cells, and the names of all elements."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.inside = tag in ("td", "th")
        if self.inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(st.lists(TEXT, min_size=2, max_size=2), st.lists(st.lists(TEXT, min_size=2, max_size=2)))
def test_html_cells_equal_the_given_texts(head: list[str], rows: list[list[str]]) -> None:
    parser = Cells()
    parser.feed(html(DataFrame(rows, columns=head, dtype=object), 1, "title"))
    assert parser.cells == [cell for row in [head, *rows] for cell in row]


def test_html_has_no_script_and_no_external_resources() -> None:
    page = html(HOSTILE, 1, "<b>title</b>")
    parser = Cells()
    parser.feed(page)
    assert parser.tags <= {
        *"html head meta title style body h1 div table thead tbody tr th td".split()
    }
    assert "default-src 'none'" in page


def test_latex_table_by_hand() -> None:
    made = latex(
        DataFrame([["x_1 & y", "–"], ["[b]", "0.5 *"]], columns=["run", "50 % [a]"]),
        *(1, "Votes #1", "votes"),
    )
    assert made.splitlines()[1:] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{Votes \#1}",
        r"\label{tab:votes}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"run & 50 \% {[}a] \\",
        r"\midrule",
        r"x\_1 \& y & -- \\",
        r"{[}b] & 0.5 {*} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_markdown_escapes_bars_and_aligns_numbers_right() -> None:
    lines = markdown(DataFrame([["a|b", "1"], ["c", "–"]], columns=["x", "y"])).splitlines()
    cells = [[cell.strip() for cell in line.replace("\\|", "/").split("|")] for line in lines]
    assert [row[1:-1] for row in cells[2:]] == [["a/b", "1"], ["c", "–"]]
    assert lines[1].endswith("-:|")
