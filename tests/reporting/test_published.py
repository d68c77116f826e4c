"""Published results of the same base model."""

from pathlib import Path

import pytest

from gcrm.reporting.published import Published, read_published
from gcrm.utils.errors import UserError
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


def test_shipped_file_has_results_and_sources_of_the_papers_models() -> None:
    path = ROOT / "workflow/published.jsonl"
    for base_model in (
        "nvidia/OpenMath-CodeLlama-7b-Python-hf",
        "meta-llama/Meta-Llama-3-8B-Instruct",
    ):
        published = read_published(path, base_model)
        assert published.numbers
        assert all("arXiv 2407.13887" in number.source for number in published.numbers)
