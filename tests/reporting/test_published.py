"""Published results of the same base model."""

from pathlib import Path

import pytest

from gcrm.reporting.columns import Numbers
from gcrm.reporting.kinds import TABLES
from gcrm.reporting.published import Published, read_published
from gcrm.reporting.results import Results
from gcrm.stats.estimates import estimates_frame
from gcrm.utils.errors import UserError
from helpers.estimates import estimates
from helpers.rows import write_rows
from helpers.workflow_runs import ROOT

NUMBER = {"base_model": "org/base", "source": "paper, table 1"}
NUMBER |= {"model": "theirs", "benchmark": "gsm8k", "measure": "auroc", "value": 0.81}
CLAIM = {"base_model": "org/base", "source": "paper, abstract", "claim": "up to 0.09 more"}


def test_only_results_of_the_base_model_are_read(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "p.jsonl", NUMBER, CLAIM)
    assert read_published(path, "org/other").numbers == []
    assert read_published(path, None) == Published()
    assert read_published(None, "org/base") == Published()
    assert len(read_published(path, "org/base").numbers) == 2
    assert len(read_published(path, "/models/base").numbers) == 2


def test_claims_and_sources_have_no_duplicates(tmp_path: Path) -> None:
    published = read_published(write_rows(tmp_path / "p.jsonl", NUMBER, NUMBER, CLAIM), "org/base")
    assert published.claims() == ["up to 0.09 more (paper, abstract)"]
    assert published.sources() == ["paper, table 1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**NUMBER, "claim": "more"}, "line 1: give claim, or model"),
        ({"base_model": "org/base", "source": "x"}, "line 1: give claim, or model"),
        ({**NUMBER, "value": "high"}, "line 1: value: "),
        ({**NUMBER, "tabel": 1}, "line 1: tabel: unknown key"),
    ],
)
def test_invalid_row_is_reported_in_one_line(tmp_path: Path, row: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_published(write_rows(tmp_path / "p.jsonl", row), "org/base")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("base_model", "paper", "claims"),
    [
        ("nvidia/OpenMath-CodeLlama-7b-Python-hf", "2407.13887", 11),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "2407.13887", 2),
        ("Qwen/Qwen2.5-Math-7B", "2601.21350", 1),
    ],
)
def test_shipped_file_has_claims_and_sources(base_model: str, paper: str, claims: int) -> None:
    published = read_published(ROOT / "workflow/published.jsonl", base_model)
    assert len(published.claims()) == claims
    assert all(f"arXiv {paper}" in number.source for number in published.numbers)


def test_the_replications_pairwise_accuracies_are_beside_ours_of_the_same_measure() -> None:
    """Of all couples of samples, or of held-out pairs; not beside AUROC or means over problems."""
    published = read_published(ROOT / "workflow/published.jsonl", "Qwen/Qwen2.5-Math-7B")
    ours = {"pairwise_accuracy.reward": 0.7, "pooled_pairwise_accuracy.reward": (0.6, 0.5, 0.7)}
    rows = estimates(ours, benchmark="gsm8k", split="all")
    rows += estimates({"auroc.reward": 0.8}, benchmark="gsm8k")
    rows += estimates({"pairwise_accuracy.reward": 0.7}, benchmark="hh-helpful", split="pairs")
    empty = estimates_frame([], "compare")
    numbers = Numbers(Results(estimates_frame(rows), empty), published)
    shown = TABLES["pairwise"].cells(numbers)
    assert list(shown.iloc[:, 2:4].itertuples(index=False, name=None)) == [
        ("70.0", "60.0 [50.0, 70.0]"),
        ("–", "75.5"),
        ("–", "80.3"),
    ]
    assert list(TABLES["preferences"].cells(numbers).iloc[0, -2:]) == ["67.4", "67.5"]
    assert "published" not in str(TABLES["auroc"].cells(numbers))
    benchmarks = {number.benchmark for number in published.numbers if number.value is not None}
    assert benchmarks == {
        *("gsm8k", "math", "algebra222", "gsm-hard", "asdiv", "mawps", "svamp"),
        *("hh-helpful", "hh-harmless"),
    }
