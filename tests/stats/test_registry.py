"""A registered function is in the metrics and comparisons of its splits."""

from collections.abc import Iterator

import numpy as np
import pytest

from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable
from gcrm.stats.compute import compare_models, compute_metrics
from gcrm.stats.registry import METRICS, Estimate, Scored, metric
from helpers.score_rows import columns, pick

FAST = MetricsSettings(bootstrap_resamples=20)


def test_a_new_metric_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    for split in METRICS:
        monkeypatch.setitem(METRICS, split, [])

    @metric("greedy", compared=["test.high"])
    def my_metric(scored: Scored) -> Iterator[Estimate]:
        high = scored.by_problem(scored.table.reward > 0)
        yield scored.mean("test.high", high)
        yield scored.change("higher", high, 0 * high, at=0.5)
        yield scored.ratio("nothing", high, 0 * high)
        yield scored.count("rows", 7)
        yield from scored.missing("it is not there", "some.thing")

    first, second = (
        ScoreTable.of("greedy", columns() | {"reward": np.arange(40) - k}) for k in (0, 10)
    )
    found = compute_metrics(first, settings=FAST, variant="a", seed=3, benchmark="b")
    assert found["metric"].tolist() == ["test.high", "higher", "nothing", "rows", "some.thing"]
    assert pick(found, "test.high").value == 39 / 40 and pick(found, "test.high").n == 40
    assert pick(found, "test.high").low <= 39 / 40 <= pick(found, "test.high").high
    assert pick(found, "higher", 0.5).p < 0.01
    assert pick(found, "nothing").reason == "there is nothing to take a share of"
    assert pick(found, "rows").value == 7 and np.isnan(pick(found, "rows").low)
    assert pick(found, "some.thing").reason == "it is not there"
    assert set(found["variant"]) == {"a"} and set(found["seed"]) == {3}
    assert compute_metrics(ScoreTable.of("all", columns()), settings=FAST).empty

    compared = compare_models({("a", 0): [first], ("b", 0): [second]}, FAST)
    differences = compared[compared["baseline"].notna()]
    assert differences["metric"].tolist() == ["test.high"]  # the others are not compared
    assert pick(differences, "test.high").value == pytest.approx(-10 / 40)
