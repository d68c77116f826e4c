"""The figures: edge cases, no clipped or overlapping texts, identical bytes each time."""

from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from pandas import DataFrame, concat

from gcrm.reporting.figures.generation import generation_figure
from gcrm.reporting.figures.lines import Line, Panel, goals_figure, line_figure
from gcrm.reporting.figures.points import Points, draw_points
from gcrm.reporting.figures.rewards import reward_figure
from gcrm.reporting.figures.style import CORRECT, INCORRECT, looks
from gcrm.reporting.figures.votes import vote_figure
from gcrm.reporting.generation import split_metrics
from gcrm.stats.estimates import estimates_frame
from gcrm.stats.goals import KINDS, MEASURES
from helpers.estimates import estimates
from helpers.generated import generated

BENCHMARKS = "gsm8k math gsm-hard mawps asdiv algebra222 svamp".split()
HEADING = "some-run (synthetic stand-in)\nWhat this figure is about, at the length of most headings"
MANY = [f"variant-with-a-name-{i}" for i in range(11)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The saved figures."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    yield figures


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The texts in PNG files: text, box, and size of the picture."""
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


def auroc(stem: Path, variants: list[str]) -> None:
    generator = np.random.default_rng(0)
    points = DataFrame(
        [(name, benchmark) for benchmark in BENCHMARKS for name in variants],
        columns=["variant", "benchmark"],
    )
    points["value"] = generator.uniform(0.4, 0.8, len(points))
    points.loc[points["benchmark"] == "algebra222", "value"] = np.nan
    points = points.assign(low=points["value"] - 0.08, high=points["value"] + 0.08)
    points.loc[0, ["low", "high"]] = np.nan
    seeds = concat([points.assign(value=points["value"] + shift) for shift in (-0.02, 0.02)])
    lengths = dict(zip(BENCHMARKS, [0.5, 0.3, 0.7, 0.6, 0.5, 0.4], strict=False))
    draw_points(stem, HEADING, Points(points, lengths, "AUROC", seeds))


def lines(stem: Path, variants: list[str], panels: int = 7, **options: Any) -> None:
    look, x = looks(variants), np.arange(0, 101, 10)
    generator = np.random.default_rng(0)
    content = []
    for benchmark in (BENCHMARKS * 2)[:panels]:
        rows = []
        for name in variants:
            y = generator.uniform(0.4, 0.8, 11)
            rows.append(Line(name, look[name], x, y, y - 0.05, y + 0.05))
        content.append(Panel(benchmark, rows, level=0.5, by_length=0.3))
    content[-1] = Panel(content[-1].title, [])
    line_figure(stem, HEADING, content, "tokens so far, %", "AUROC", "chance", **options)


def two_panels(stem: Path, variants: list[str]) -> None:
    """Narrower than its heading; ticks at the points."""
    lines(stem, variants, panels=2, intervals="over samples", ticks=[0, 10, 20, 50, 100])


def rewards(stem: Path, _: list[str]) -> None:
    generator = np.random.default_rng(0)
    content = {
        f"{name}  AUROC 0.68": (generator.normal(1, 2, 50), generator.normal(size=30))
        for name in BENCHMARKS[1:]
    }
    reward_figure(stem, HEADING, {"one class": (np.array([1.0]), np.empty(0))} | content)


def votes(stem: Path, variants: list[str]) -> None:
    curve = {-0.5: (0.0, 0.42), 0.0: (0.1, 0.41), 0.5: (0.08, 0.38), 0.8: (0.2, 0.36), 1: (0, 0.42)}
    spots = {"filtered": (0.1, 0.4), "chosen_filter": (0.15, 0.41)}
    means, curves = [], []
    for benchmark in ("gsm8k", "math", "asdiv"):  # asdiv has no Q-values
        for name in variants:
            where = {"variant": name, "benchmark": benchmark, "split": "all"}
            numbers: dict[str, Any] = {"majority@n": (0.42, 0.35, 0.5)}
            if benchmark == "gsm8k":
                for kind, (saved, right) in spots.items():
                    numbers[f"{kind}.tokens_saved"] = (saved, saved - 0.05, saved + 0.05)
                    numbers[f"{kind}.majority@n"] = (right, right - 0.05, right + 0.05)
            means += estimates(numbers, **where)
            for at, (saved, right) in curve.items() if benchmark != "asdiv" else ():
                points = {"tokens_saved": saved, "majority@n": right}
                named = {f"filter_curve.{key} at {at}": value for key, value in points.items()}
                curves += estimates(named, **where)
    frames = estimates_frame(means), estimates_frame(curves)
    vote_figure(stem, HEADING, *frames, variants, "0")


def goals(stem: Path, _: list[str]) -> None:
    generator = np.random.default_rng(0)
    numbers = product(("gsm8k", "math"), KINDS, (1, 10, 100, 1000, 10_000, 257_584), range(3))
    rows = DataFrame(numbers, columns=["benchmark", "kind", "examples", "draw"])
    scores = {name: generator.uniform(0.3, 0.9, len(rows)) for name in MEASURES}
    goals_figure(stem, HEADING, rows.assign(correct=0.62, **scores))


def generation(stem: Path, _: list[str]) -> None:
    rows = [*generated("vanilla", 0), *generated("vanilla", 0, "math")]
    generation_figure(stem, HEADING, split_metrics(estimates_frame(rows)))


FIGURES = {
    "auroc": auroc,
    "lines": lines,
    "two_panels": two_panels,
    "rewards": rewards,
    "votes": votes,
    "goals": goals,
    "generation": generation,
}


@pytest.mark.parametrize("variants", [["vanilla", "contrastive"], MANY], ids=["two", "many"])
@pytest.mark.parametrize("kind", FIGURES)
def test_texts_are_neither_clipped_nor_overlapping(
    tmp_path: Path, texts: list[Any], drawn: list[Figure], kind: str, variants: list[str]
) -> None:
    FIGURES[kind](tmp_path / "figure", variants)
    assert len(texts) > 10
    for text, box, (width, height) in texts:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text!r} is clipped"
    for (one, first, _), (other, second, _) in combinations(texts, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across < 2 or along < 2, f"{one!r} and {other!r} overlap"
    figure = drawn[-1]
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == len(set(names))
    if kind in ("lines", "two_panels", "votes"):
        assert names[: len(variants)] == variants
    for axes in figure.axes:
        assert not axes.get_window_extent().overlaps(legend.get_window_extent())
    heading = figure.get_suptitle()
    banded = kind in ("lines", "two_panels") and len(variants) == 2
    assert (", 95 % intervals" in heading) == banded
    assert heading.endswith(" over samples") == (kind == "two_panels" and banded)


def test_equal_figures_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines(tmp_path / name, ["vanilla"], panels=2)
    for suffix in ("svg", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_looks_differ_without_colours(tmp_path: Path) -> None:
    found = looks([str(i) for i in range(40)]).values()
    assert len({(look.dashes, look.marker) for look in found}) == 40
    assert len({(look.colour, look.marker) for look in looks(MANY).values()}) == len(MANY)
    assert CORRECT.dashes != INCORRECT.dashes and CORRECT.marker != INCORRECT.marker


def test_single_point_and_equal_rewards_can_be_drawn(tmp_path: Path) -> None:
    look = looks(["v"])["v"]
    content = [Panel("gsm8k", [Line("v", look, *np.array([[0.0], [0.5], [0.5], [0.5]]))])]
    line_figure(tmp_path / "figure", "heading", content, "x")
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    reward_figure(tmp_path / "equal", "heading", {"a": (np.ones(3), np.ones(2))})
    assert (tmp_path / "equal.png").stat().st_size > 1000


def test_vote_curve_leaves_out_thresholds_that_save_less(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    votes(tmp_path / "votes", ["v"])
    curves = [line for line in drawn[-1].axes[0].get_lines() if len(line.get_xdata()) > 2]
    assert [list(line.get_xdata()) for line in curves] == [pytest.approx([0, 10, 20])]
    assert list(curves[0].get_ydata()) == pytest.approx([42, 41, 36])


def test_lines_with_intervals_have_bands(tmp_path: Path, drawn: list[Figure]) -> None:
    look = looks(["v"])["v"]
    for ends in ([0.5, 0.6], [np.nan, np.nan]):
        line = Line(
            "v", look, np.array([0, 1]), np.array([0.5, 0.6]), np.array(ends), np.array(ends)
        )
        line_figure(tmp_path / "figure", "heading", [Panel("gsm8k", [line])], "x")
        assert len(drawn[-1].axes[0].collections) == np.isfinite(ends).all()
