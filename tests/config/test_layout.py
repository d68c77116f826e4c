from pathlib import Path

import pytest

from gcrm.config.layout import RESULTS, completion_files, place, wildcards_of

VALUES = {
    "variant": "a.b",
    "policy": "rloo",
    "seed": "7",
    "benchmark": "gsm-hard",
    "split": "all",
    "problem_set": "x",
}
FOLDER = Path("results/a+b")


@pytest.mark.parametrize("stage", RESULTS)
def test_a_path_says_what_it_was_made_of(stage: str) -> None:
    used = {key: value for key, value in VALUES.items() if f"{{{key}}}" in RESULTS[stage]}
    assert wildcards_of(place(FOLDER, stage, VALUES), FOLDER, stage) == used


def test_without_wildcards_a_path_is_a_pattern_for_a_rule() -> None:
    assert str(place(FOLDER, "compare")) == "results/a+b/comparisons/{benchmark}.json"


@pytest.mark.parametrize(
    ("path", "wildcards"),
    [
        ("results/a+b/comparisons", {}),
        ("results/a+b/comparisons/x.json", {"benchmark": "x"}),
        ("results/a+b/comparisons/x.json/y", {"benchmark": "x"}),
        ("results/a+b/comparisons/x.txt", None),
        ("results/a+b/metrics/x.json", None),
        ("results/aab/comparisons/x.json", None),
        ("comparisons/x.json", None),
    ],
)
def test_a_part_of_a_path_says_what_it_can(path: str, wildcards: dict[str, str] | None) -> None:
    if wildcards is not None:
        assert wildcards_of(Path(path), FOLDER, "compare") == wildcards
        return
    with pytest.raises(ValueError, match="no result of compare"):
        wildcards_of(Path(path), FOLDER, "compare")


def test_samples_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("output-rs10", "output-rs2", "output-rsx", "output-greedy"):
        (tmp_path / "b" / f"{name}.jsonl").touch()
    names = [file.name for file in completion_files(tmp_path, "b", "all")]
    assert names == ["output-rs2.jsonl", "output-rs10.jsonl"]
    assert [file.name for file in completion_files(tmp_path, "b", "greedy")] == [
        "output-greedy.jsonl"
    ]
