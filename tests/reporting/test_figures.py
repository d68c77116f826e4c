"""The figures: whole with odd numbers, nothing cut off or overlapping, the same every time."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from gcrm.reporting.figures.auroc import Point, auroc_figure
from gcrm.reporting.figures.lines import Line, Panel, line_figure
from gcrm.reporting.figures.rewards import Rewards, reward_figure
from gcrm.reporting.figures.style import RIGHT, WRONG, looks
from gcrm.reporting.figures.votes import Filtering, Votes, vote_figure

BENCHMARKS = "gsm8k math gsm-hard mawps asdiv algebra222 svamp".split()
HEADING = "some-run (synthetic stand-in)\nWhat this figure is about, at the length of most headings"
MANY = [f"variant-with-a-name-{i}" for i in range(11)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    yield figures


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was written into PNG files: the text, its box, and the size of the picture."""
    found: list[Any] = []
    drawing: list[Text] = []
    draw_text, draw_line = Text.draw, RendererAgg.draw_text

    def remember(text: Text, *args: Any, **options: Any) -> None:
        drawing.append(text)
        draw_text(text, *args, **options)

    def keep(renderer: Any, *args: Any, **options: Any) -> None:
        if drawing:  # the first line of the text
            text = drawing[-1]
            size = renderer.width, renderer.height
            found.append((text.get_text(), text.get_window_extent(), size))
            drawing.clear()
        draw_line(renderer, *args, **options)

    monkeypatch.setattr(Text, "draw", remember)
    monkeypatch.setattr(RendererAgg, "draw_text", keep)
    return found


def share(value: float, width: float = 0.05) -> dict[str, Any]:
    return {"value": value, "interval": [value - width, value + width], "n": 9}


def auroc(stem: Path, variants: list[str]) -> None:
    generator = np.random.default_rng(0)
    points = {
        name: [
            Point(v, (v - 0.08, v + 0.08), (v - 0.02, v + 0.02))
            for v in generator.uniform(0.4, 0.8, 7)
        ]
        for name in variants
    }
    points[variants[0]][2] = Point(0.6, None)
    for row in points.values():
        row[5] = Point(None, None)
    auroc_figure(stem, HEADING, BENCHMARKS, points, [0.5, None, 0.7, 0.6, 0.5, 0.4, 0.3])


def lines(stem: Path, variants: list[str], panels: int = 7) -> None:
    look, x = looks(variants), list(range(0, 101, 10))
    generator = np.random.default_rng(0)
    content = []
    for benchmark in (BENCHMARKS * 2)[:panels]:
        rows = []
        for name in variants:
            y = generator.uniform(0.4, 0.8, 11)
            rows.append(Line(name, look[name], x, list(y), list(y - 0.05), list(y + 0.05)))
        content.append(Panel(benchmark, rows, level=0.5, by_length=0.3))
    content[-1] = Panel(content[-1].title, [])
    line_figure(stem, HEADING, content, "tokens so far, %", "AUROC", "chance")


def rewards(stem: Path, _: list[str]) -> None:
    generator = np.random.default_rng(0)
    content = [
        Rewards(f"{name}  AUROC 0.68", generator.normal(1, 2, 50), generator.normal(size=30))
        for name in BENCHMARKS
    ]
    content[0] = Rewards("one class", np.array([1.0]), np.empty(0))
    reward_figure(stem, HEADING, content)


def votes(stem: Path, variants: list[str]) -> None:
    look = looks(variants)
    curve = [(0.0, 0.42), (0.1, 0.41), (0.2, 0.38), (0.1, 0.36), (0.0, 0.42)]
    filters = [
        Filtering(name, look[name], [curve], (share(0.1), share(0.4)), (share(0.15), share(0.41)))
        for name in variants
    ]
    bare = [Filtering(variants[0], look[variants[0]], [[]], None, None)]
    content = [
        Votes("gsm8k", share(0.42), filters),
        Votes("math", share(0.4), bare),
        Votes("asdiv", share(0.3), []),
    ]
    vote_figure(stem, HEADING, content, "0")


FIGURES = {"auroc": auroc, "lines": lines, "rewards": rewards, "votes": votes}


@pytest.mark.parametrize("variants", [["vanilla", "contrastive"], MANY], ids=["two", "many"])
@pytest.mark.parametrize("kind", FIGURES)
def test_no_text_is_cut_off_or_over_another(
    tmp_path: Path, texts: list[Any], kind: str, variants: list[str]
) -> None:
    FIGURES[kind](tmp_path / "figure", variants)
    assert len(texts) > 10
    for text, box, (width, height) in texts:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text!r} is cut off"
    for (one, first, _), (other, second, _) in combinations(texts, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across < 2 or along < 2, f"{one!r} and {other!r} overlap"


@pytest.mark.parametrize("variants", [["vanilla", "contrastive"], MANY], ids=["two", "many"])
@pytest.mark.parametrize("kind", FIGURES)
def test_the_legend_covers_no_panel(
    tmp_path: Path, drawn: list[Figure], kind: str, variants: list[str]
) -> None:
    FIGURES[kind](tmp_path / "figure", variants)
    figure = drawn[-1]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == len(set(names))
    if kind in ("lines", "votes"):
        assert names[: len(variants)] == variants
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert not axes.get_window_extent().overlaps(legend.get_window_extent())


def test_the_same_figure_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines(tmp_path / name, ["vanilla"], panels=2)
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_what_has_a_colour_differs_without_it(tmp_path: Path) -> None:
    found = looks([str(i) for i in range(40)]).values()
    assert len({(look.dashes, look.marker) for look in found}) == 40
    assert len({(look.colour, look.marker) for look in looks(MANY).values()}) == len(MANY)
    assert RIGHT.dashes != WRONG.dashes and RIGHT.marker != WRONG.marker


def test_intervals_are_named_where_they_are_shown(tmp_path: Path, drawn: list[Figure]) -> None:
    lines(tmp_path / "two", ["vanilla", "contrastive"])
    assert drawn[-1].get_suptitle().endswith(", 95 % intervals")
    lines(tmp_path / "many", MANY)
    assert "intervals" not in drawn[-1].get_suptitle()


def test_one_panel_with_one_point_is_a_figure(tmp_path: Path) -> None:
    look = looks(["v"])["v"]
    content = [Panel("gsm8k", [Line("v", look, [0.0], [0.5], [0.5], [0.5])])]
    line_figure(tmp_path / "figure", "heading", content, "x")
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    reward_figure(tmp_path / "equal", "heading", [Rewards("a", np.ones(3), np.ones(2))])
    assert (tmp_path / "equal.png").stat().st_size > 1000
