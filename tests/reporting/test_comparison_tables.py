"""Tables of differences from comparisons files, on literals."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gcrm.reporting.comparison_tables import (
    AUROC,
    VOTES,
    Comparisons,
    comparison_rows,
    comparison_table,
    read_comparisons,
    seeds_table,
    seeds_text,
)
from gcrm.reporting.formats import comma_separated, number
from gcrm.utils.errors import UserError

Json = dict[str, Any]


def estimate(value: float | None, p: float = 0.5, **seeds: float) -> Json:
    if value is None:
        return {"value": None, "interval": None, "n": 9, "reason": "one class"}
    interval = [value - 0.02, value + 0.02]
    return {"value": value, "interval": interval, "n": 9, "p": p, "seeds": seeds}


def difference(reward: Json, variant: str = "new", seeds: int = 2, **more: Any) -> Json:
    names = {"variant": variant, "baseline": "old", "seeds": list(range(seeds))}
    return names | {"auroc": {"reward": reward}} | more


def comparisons(**by_benchmark: list[Json]) -> Comparisons:
    return Comparisons(
        {
            name: {"benchmark": name, "variants": {}, "differences": differences}
            for name, differences in by_benchmark.items()
        }
    )


FOUND = comparisons(
    gsm8k=[
        difference(
            estimate(0.05, 0.01, **{"0": 0.04, "1": 0.06}),
            voting={"best_of_n": estimate(-0.034, 0.2)},
        ),
        difference(estimate(0.0, 1.0), variant="other", seeds=2),
    ],
    math=[difference(estimate(-0.01, 0.03, **{"0": -0.02, "1": 0.0}))],
    svamp=[difference(estimate(None))],
    mawps=[difference(estimate(0.02, 0.04))],
)


def test_p_is_corrected_over_the_benchmarks_that_have_a_value() -> None:
    found = FOUND.differences(("new", "old"), AUROC["reward"])
    # 0.01, 0.03, 0.04 of three: 0.03, 0.06, 0.06; the other pair is a family of its own.
    assert {name: one["p_holm"] for name, one in found.items()} == pytest.approx(
        {"gsm8k": 0.03, "math": 0.06, "mawps": 0.06}
    )
    assert FOUND.differences(("other", "old"), AUROC["reward"])["gsm8k"]["p_holm"] == 1


def test_the_table_has_a_row_for_each_benchmark_and_pair() -> None:
    assert comparison_table(FOUND) == [
        ["benchmark", "variant", "baseline", "reward"],
        ["gsm8k", "new", "old", "+0.050 [0.030, 0.070], p = 0.030"],
        ["gsm8k", "other", "old", "0.000 [-0.020, 0.020], p = 1.000"],
        ["math", "new", "old", "-0.010 [-0.030, 0.010], p = 0.060"],
        ["mawps", "new", "old", "+0.020 [0.000, 0.040], p = 0.060"],
    ]
    assert comparison_table(FOUND, VOTES, percent=True) == [
        ["benchmark", "variant", "baseline", "best of n"],
        ["gsm8k", "new", "old", "-3.4 [-5.4, -1.4], p = 0.200"],
    ]


def test_every_seed_is_shown() -> None:
    assert seeds_table(FOUND) == [
        ["benchmark", "variant", "baseline", "seed 0", "seed 1"],
        ["gsm8k", "new", "old", "+0.040", "+0.060"],
        ["math", "new", "old", "-0.020", "+0.000"],
    ]


def test_csv_has_every_number() -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated(comparison_rows(FOUND)))))
    assert len(rows) == 5 + 4  # differences with a value, seeds
    assert rows[0] == {
        **{"benchmark": "gsm8k", "variant": "new", "baseline": "old", "measure": "auroc.reward"},
        **{"seed": "", "value": "0.05", "low": "0.030000000000000002", "high": "0.07", "n": "9"},
        **{"p": "0.01", "p_holm": "0.03"},
    }
    assert rows[1]["seed"] == "0"
    assert rows[1]["value"] == "0.04"
    assert rows[1]["p"] == ""
    assert {row["measure"] for row in rows} == {"auroc.reward", "voting.best_of_n"}


def test_what_the_intervals_hold_for_is_said() -> None:
    one = comparisons(gsm8k=[difference(estimate(0.1), seeds=1)])
    assert "nothing of other seeds" in seeds_text(one)
    assert "the 2 seeds" in seeds_text(FOUND)
    assert "Fewer than five" in seeds_text(FOUND)
    assert "Fewer" not in seeds_text(comparisons(gsm8k=[difference(estimate(0.1), seeds=5)]))


def test_without_pairs_there_is_only_a_head() -> None:
    nothing = comparisons(gsm8k=[])
    assert nothing.pairs() == []
    assert comparison_table(nothing) == [["benchmark", "variant", "baseline"]]
    assert len(comparison_rows(nothing)) == len(seeds_table(nothing)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `compare` makes it"),
        ("{", "not valid JSON"),
        ("{}", "no comparisons; expected a file that `compare` wrote"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "gsm8k.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_comparisons([path])


def test_two_files_of_one_benchmark_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.json"
    path.write_text(json.dumps(FOUND.by_benchmark["gsm8k"]))
    assert read_comparisons([path]).pairs() == [("new", "old"), ("other", "old")]
    with pytest.raises(UserError, match="second file for gsm8k"):
        read_comparisons([path, path])


def test_a_small_loss_is_no_minus_zero() -> None:
    estimate = {"value": -0.0001, "interval": [-0.0004, 0.02]}
    assert number(estimate, percent=True) == "0.0 [0.0, 2.0]"
