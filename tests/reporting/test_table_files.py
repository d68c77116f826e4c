"""Tables as web pages and for LaTeX: what is in the cells stays text."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from gcrm.reporting.table_files import html, latex

HOSTILE = [["a", "<script>alert(1)</script>"], ["x & y", '"><img src=x onerror=alert(1)>']]


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


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=2, max_size=2),
        min_size=1,
    )
)
def test_cells_of_a_page_are_what_was_given(rows: list[list[str]]) -> None:
    parser = Cells()
    parser.feed(html(rows, 1, "title"))
    assert parser.cells == [cell for row in rows for cell in row]


def test_a_page_has_no_script_and_loads_nothing() -> None:
    page = html(HOSTILE, 1, "<b>title</b>")
    parser = Cells()
    parser.feed(page)
    assert parser.tags <= {
        *"html head meta title style body h1 div table thead tbody tr th td".split()
    }
    assert "default-src 'none'" in page


def test_a_latex_table_by_hand() -> None:
    made = latex([["run", "50 % [a]"], ["x_1 & y", "–"]], 1, "Votes #1", "votes")
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
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
