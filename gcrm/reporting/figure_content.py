"""From the results of a run to its figures: what goes into which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gcrm.reporting.contents import Part
from gcrm.reporting.curves import SHARES, TRAINING, Condensed, Floats, centred
from gcrm.reporting.figures.auroc import Point, auroc_figure
from gcrm.reporting.figures.lines import Line, Panel, line_figure
from gcrm.reporting.figures.rewards import Rewards, reward_figure
from gcrm.reporting.figures.style import RIGHT, WRONG, Look, looks
from gcrm.reporting.figures.votes import Filtering, Votes, vote_figure
from gcrm.reporting.results import Json, Results, average

Curves = dict[str, tuple[Floats, Floats]]


@dataclass(frozen=True)
class Material:
    """What figures are made of.

    Attributes:
        label: the run, for headings.
        results: its metrics.
        heldout: its metrics on held-out preference sets.
        scores: condensed score tables by variant, seed and benchmark; empty where not given.
        training: training curves by variant and seed; empty where not given.
    """

    label: str
    results: Results
    heldout: Results
    scores: dict[str, dict[int, dict[str, Condensed]]]
    training: dict[str, dict[int, Curves]]

    def of(self, part: Part) -> "Material":
        """What a figure is made of, if it shows some of the variants."""
        if not part.variants:
            return self
        training = {name: self.training[name] for name in part.variants if name in self.training}
        results = replace(self.results, variants=list(part.variants))
        return replace(self, results=results, training=training)

    def heading(self, text: str) -> str:
        """The first words on a figure."""
        return f"{self.label}\n{text}"


def auroc(material: Material, part: Part, stem: Path) -> None:
    """AUROC of the final reward."""
    heading = material.heading("AUROC of the final reward against correctness, 95 % intervals")
    _beside_length(stem, heading, material.results, ("auroc", "length"), "AUROC")


def preferences(material: Material, part: Part, stem: Path) -> None:
    """Preference accuracy on held-out sets."""
    heading = material.heading("Held-out pairs with the higher reward on the chosen side")
    _beside_length(stem, heading, material.heldout, ("accuracy", "shorter"), "preference accuracy")


def _beside_length(
    stem: Path, heading: str, results: Results, shorter: tuple[str, str], measure: str
) -> None:
    """The reward on each benchmark or set, beside `shorter`: its section and that of length."""
    section = shorter[0]
    points = {
        variant: [_point(results, variant, name, section) for name in results.benchmarks]
        for variant in results.variants
    }
    lengths = [results.any_variant(name, *shorter) for name in results.benchmarks]
    values = [None if length is None else length["value"] for length in lengths]
    auroc_figure(stem, heading, results.benchmarks, points, values, measure)


def _point(results: Results, variant: str, benchmark: str, section: str) -> Point:
    estimate = results.mean(variant, benchmark, section, "reward")
    if estimate is None:
        return Point(None, None)
    each = results.each(variant, benchmark, section, "reward")
    seeds = tuple(one["value"] for one in each if one["value"] is not None)
    return Point(estimate["value"], estimate["interval"], seeds if len(seeds) > 1 else ())


def partial_auroc(material: Material, part: Part, stem: Path) -> None:
    """AUROC after a share of the tokens: of partial rewards, or of Q-values."""
    results = material.results
    look = looks(results.variants)
    panels = []
    for benchmark in results.benchmarks:
        lines = []
        for variant in results.variants:
            shares = dict.fromkeys(
                share
                for curve in results.each(variant, benchmark, "partial_auroc", part.of)
                for share in curve
            )
            found = {
                100 * float(share): estimate
                for share in shares
                if share != "reason"
                and (estimate := results.mean(variant, benchmark, "partial_auroc", part.of, share))
            }
            if found:
                lines.append(_line(variant, look[variant], list(found), list(found.values())))
        length = results.any_variant(benchmark, "auroc", "length") or {}
        panels.append(Panel(benchmark, lines, level=0.5, by_length=length.get("value")))
    what = "Q-value" if part.of == "q_value" else "partial reward"
    line_figure(
        stem,
        material.heading(f"AUROC of the {what} of partial solutions"),
        panels,
        "tokens so far, %",
        "AUROC",
        "chance",
    )


def _line(label: str, look: Look, x: Sequence[float], estimates: Sequence[Json]) -> Line:
    ends = [estimate["interval"] for estimate in estimates]
    return Line(
        label,
        look,
        x,
        [estimate["value"] for estimate in estimates],
        [end[0] for end in ends] if all(ends) else None,
        [end[1] for end in ends] if all(ends) else None,
    )


def q_values(material: Material, part: Part, stem: Path) -> None:
    """Mean Q-value over the course of right and of wrong solutions of one variant."""
    panels = []
    for benchmark in material.results.benchmarks:
        lines = []
        for label, look in (("right solutions", RIGHT), ("wrong solutions", WRONG)):
            seeds = [
                course
                for models in material.scores.get(part.of, {}).values()
                for course in [
                    models[benchmark].q_right if look is RIGHT else models[benchmark].q_wrong
                ]
                if course
            ]
            points = [average(at_share) for at_share in zip(*seeds, strict=True)]
            if points:
                estimates = [point for point in points if point is not None]
                lines.append(_line(label, look, list(100 * SHARES), estimates))
        panels.append(Panel(benchmark, lines))
    line_figure(
        stem,
        material.heading(f"{part.of}: mean Q-value over the course of solutions"),
        panels,
        "% of the tokens",
        "Q-value",
    )


def rewards(material: Material, part: Part, stem: Path) -> None:
    """Rewards of right and of wrong solutions of one variant."""
    by_benchmark = centred(material.scores[part.of].values())
    content = []
    for benchmark in material.results.benchmarks:
        estimate = material.results.mean(part.of, benchmark, "auroc", "reward")
        title = benchmark + (f"  AUROC {estimate['value']:.2f}" if estimate else "")
        content.append(Rewards(title, *by_benchmark[benchmark]))
    reward_figure(stem, material.heading(f"{part.of}: rewards of the solutions"), content)


def votes(material: Material, part: Part, stem: Path) -> None:
    """Accuracy of the filtered vote against tokens saved."""
    results = material.results
    look = looks(results.variants)
    content = []
    for benchmark in results.sampled():
        filters = []
        for variant in results.variants:
            sections = results.each(variant, benchmark, "voting")
            curves = [
                [
                    (point["tokens_saved"]["value"], point["accuracy"]["value"])
                    for point in section["filter_curve"]
                    if point["tokens_saved"]["value"] is not None
                ]
                for section in sections
            ]
            if any(curves):
                spots = [
                    (saved, accuracy)
                    if (saved := results.mean(variant, benchmark, "voting", kind, "tokens_saved"))
                    and (accuracy := results.mean(variant, benchmark, "voting", kind, "accuracy"))
                    else None
                    for kind in ("filtered", "filter_chosen")
                ]
                filters.append(Filtering(variant, look[variant], curves, *spots))
        unfiltered = results.any_variant(benchmark, "voting", "majority", "accuracy")
        assert unfiltered is not None  # else the benchmark is not among the sampled ones
        content.append(Votes(benchmark, unfiltered, filters))
    threshold = " or ".join(f"{each:g}" for each in results.settings("filter_threshold"))
    vote_figure(
        stem,
        material.heading("Majority vote of the samples that Q-values keep"),
        content,
        threshold,
    )


def training(material: Material, part: Part, stem: Path) -> None:
    """Losses, accuracy and cosines over the training."""
    look = looks(list(material.training))
    levels = {"preference_loss": 0.6931, "accuracy": 0.5, "eval_accuracy": 0.5}
    panels = []
    for key, title in TRAINING.items():
        lines = []
        for variant, seeds in material.training.items():
            curves = [curves[key] for curves in seeds.values() if key in curves]
            if len(curves) > 1:
                lines += [
                    Line(variant, look[variant], list(x), list(y), faint=True) for x, y in curves
                ]
            lines += _mean_line(variant, look[variant], curves)
        if lines:
            panels.append(Panel(title, lines, levels.get(key)))
    line_figure(
        stem,
        material.heading("Training of the reward models"),
        panels or [Panel("no step was logged", [])],
        "optimiser step",
        level_label="guessing",
        columns=3,
        same_y=False,
    )


def _mean_line(label: str, look: Look, curves: Sequence[tuple[Floats, Floats]]) -> list[Line]:
    """The mean of the seeds' curves where all log at the same steps, else the first curve."""
    if not curves:
        return []
    x, first = curves[0]
    same = all(len(steps) == len(x) and (steps == x).all() for steps, _ in curves)
    values = np.mean([y for _, y in curves], axis=0) if same else first
    return [Line(label, look, list(x), list(values))]


FIGURES: dict[str, Callable[[Material, Part, Path], None]] = {
    "auroc": auroc,
    "preferences": preferences,
    "partial_auroc": partial_auroc,
    "q_values": q_values,
    "rewards": rewards,
    "votes": votes,
    "training": training,
}
"""By kind: see `gcrm.reporting.contents`."""


def can_be_drawn(material: Material, part: Part) -> bool:
    """Whether what a figure needs was given."""
    needs = {"q_values": material.scores, "rewards": material.scores, "training": material.training}
    return bool(needs.get(part.kind, True))
