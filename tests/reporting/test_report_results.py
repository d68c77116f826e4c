"""Averages over seeds and benchmarks, and their intervals."""

import numpy as np
import pytest

from gcrm.reporting.results import Results, across, average

NONE = {"value": None, "interval": None, "n": 9}


def estimate(value: float, below: float = 0.1, above: float = 0.1) -> dict:
    return {"value": value, "interval": [value - below, value + above], "n": 9}


def test_one_seed_keeps_its_interval() -> None:
    assert average([estimate(0.6, 0.1, 0.2), NONE]) == {
        "value": 0.6,
        "interval": pytest.approx([0.5, 0.8]),
        "n": 9,
    }
    assert average([]) is None
    assert average([NONE]) is None


def test_average_by_hand() -> None:
    mean = average([estimate(0.6, 0.1, 0.1), estimate(0.8, 0.2, 0.1)])
    assert mean is not None and mean["value"] == pytest.approx(0.7)
    # Two seeds at 0.7 ± 0.1: variance 0.02, of their mean 0.01, times 1.96 squared.
    seeds = 1.959964**2 * 0.01
    below, above = np.sqrt((0.1**2 + 0.2**2) / 2 + seeds), np.sqrt(0.1**2 + seeds)
    assert mean["interval"] == pytest.approx([0.7 - below, 0.7 + above])


def test_seeds_that_agree_add_nothing() -> None:
    mean = average([estimate(0.6)] * 3)
    assert mean is not None
    assert mean["interval"] == pytest.approx([0.5, 0.7])


def test_intervals_end_where_values_do() -> None:
    """Of shares at 0 and 1, of correlations and differences at -1 and 1, of margins nowhere."""
    for place, near_end, least, largest in (
        (("voting", "mean_correct"), 0.02, 0, 1),
        (("accuracy", "reward"), 0.98, 0, 1),
        (("accuracy", "reward_minus_shorter"), -0.02, -1, 1),
        (("partial_auroc", "q_value_minus_longer", "0.5"), -0.02, -1, 1),
        (("q_value_correlation", "0.2", "pearson"), 0.98, -1, 1),
        (("margin",), 0.0, -np.inf, np.inf),
    ):
        section: dict = {0: estimate(near_end - 0.02), 1: estimate(near_end + 0.02)}
        cells: dict[int, dict] = {}
        for seed, found in section.items():
            inner: dict = found
            for key in reversed(place):
                inner = {key: inner}
            cells[seed] = inner
        mean = Results(["v"], ["b"], {("v", "b"): cells}).mean("v", "b", *place)
        free = average(list(section.values()))
        assert mean is not None and free is not None
        low, high = free["interval"]
        assert mean["interval"] == [max(low, least), min(high, largest)]


def test_the_interval_holds_for_other_problems_and_seeds() -> None:
    """A model of what happens: seeds differ, and all seeds share the luck of their problems."""
    generator = np.random.default_rng(0)
    inside = only_problems = 0
    for _ in range(600):
        luck = generator.normal(0, 0.02)
        values = 0.6 + luck + generator.normal(0, 0.05, 5)
        mean = average([estimate(value, 1.96 * 0.02, 1.96 * 0.02) for value in values])
        assert mean is not None
        inside += mean["interval"][0] < 0.6 < mean["interval"][1]
        only_problems += abs(mean["value"] - 0.6) < 1.96 * 0.02
    assert 0.88 < inside / 600 < 0.97
    assert only_problems / 600 < 0.85


def test_across_benchmarks_by_hand() -> None:
    mean = across([estimate(0.6, 0.3, 0.1), estimate(0.8, 0.4, 0.1), NONE])
    assert mean is not None
    assert (mean["value"], mean["n"]) == (pytest.approx(0.7), 2)
    assert mean["interval"] == pytest.approx([0.7 - 0.5 / 2, 0.7 + np.sqrt(0.02) / 2])
    assert across([NONE]) is None


def test_a_mean_over_benchmarks_needs_all_of_them() -> None:
    def cell(value: float | None) -> dict:
        return {"auroc": {"reward": NONE if value is None else estimate(value)}}

    results = Results(
        ["v"],
        ["a", "b"],
        {("v", "a"): {0: cell(0.6), 1: cell(0.7)}, ("v", "b"): {0: cell(0.8), 1: cell(None)}},
    )
    over = results.over("v", ["a", "b"], "auroc", "reward")
    assert over is not None and over["value"] == pytest.approx(0.7)  # seed 0 alone has both
    assert results.over("v", [], "auroc", "reward") is None
