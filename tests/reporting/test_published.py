"""Published numbers stand beside ours only where base model and benchmark are the same."""

import json
from pathlib import Path

import pytest

from gcrm.reporting.published import Published, read_published
from gcrm.reporting.results import Results
from gcrm.reporting.rows import OFFICIAL_VOTES, auroc_rows, official_rows, vote_rows
from gcrm.reporting.tables import auroc_table, votes_table
from gcrm.utils.errors import UserError
from helpers.workflow_runs import ROOT

NUMBER = {"base_model": "org/base", "source": "paper, table 1"}
NUMBER |= {"model": "theirs", "benchmark": "gsm8k", "measure": "auroc", "value": 0.81}
CLAIM = {"base_model": "org/base", "source": "paper, abstract", "claim": "up to 0.09 more"}


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_another_base_model_has_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", NUMBER, CLAIM)
    assert read_published(path, "org/other").numbers == []
    assert read_published(path, None) == Published()
    assert read_published(None, "org/base") == Published()
    assert len(read_published(path, "org/base").numbers) == 2
    assert len(read_published(path, "/models/base").numbers) == 2


def test_numbers_have_a_column_for_their_benchmarks_only(tmp_path: Path) -> None:
    published = read_published(write(tmp_path / "p.jsonl", NUMBER, CLAIM), "org/base")
    estimate = {"value": 0.7, "interval": [0.6, 0.8], "n": 9}
    metrics = {"auroc": {"reward": estimate}}
    results = Results(
        ["ours"], ["gsm8k", "math"], {("ours", "gsm8k"): {0: metrics}, ("ours", "math"): {}}
    )
    head, gsm8k, math = auroc_table(results, ["ours"], published)
    assert head[-2:] == ["ours", "theirs (published)"]
    assert gsm8k[-2:] == ["0.700 [0.600, 0.800]", "0.81"]
    assert math[-1] == "–"
    assert auroc_rows(results, published)[-1] == [
        *("theirs (published)", None, "gsm8k", "reward", 0.81),
        *(None, None, None, None, "paper, table 1"),
    ]
    other = Results(["ours"], ["math"], {("ours", "math"): {0: metrics}})
    assert auroc_table(other, ["ours"], published)[0][-1] == "ours"
    assert published.claims() == ["up to 0.09 more (paper, abstract)"]
    assert published.sources() == ["paper, table 1"]


def test_votes_are_compared_as_the_authors_count() -> None:
    majority = {"measure": "majority", "value": 0.846}
    published = Published(read_rows({**NUMBER, **majority}))
    share = {"value": 0.8, "interval": None, "n": 9}
    voting = {"majority": {"accuracy": share}, "official": {"majority": {"accuracy": share}}}
    results = Results(["ours"], ["gsm8k"], {("ours", "gsm8k"): {0: {"voting": voting}}})
    rows = votes_table(results, OFFICIAL_VOTES, published)
    assert rows[1][:3] == ["gsm8k", "ours", "80.0"]
    assert rows[2][:3] == ["gsm8k", "theirs (published)", "84.6"]
    assert official_rows(results, published)[-1][5] == 0.846
    assert len(vote_rows(results)) == 2  # the head, and ours


def read_rows(*rows: dict) -> list:
    from gcrm.reporting.published import PublishedNumber

    return [PublishedNumber(**row) for row in rows]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**NUMBER, "claim": "more"}, "line 1: give claim, or model"),
        ({"base_model": "org/base", "source": "x"}, "line 1: give claim, or model"),
        ({**NUMBER, "value": "high"}, "line 1: value: "),
        ({**NUMBER, "tabel": 1}, "line 1: tabel: unknown key"),
    ],
)
def test_a_broken_row_is_one_line(tmp_path: Path, row: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_published(write(tmp_path / "p.jsonl", row), "org/base")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_shipped_is_of_the_papers_models_and_says_where_it_is_printed() -> None:
    path = ROOT / "workflow/published.jsonl"
    for base_model in (
        "nvidia/OpenMath-CodeLlama-7b-Python-hf",
        "meta-llama/Meta-Llama-3-8B-Instruct",
    ):
        published = read_published(path, base_model)
        assert published.numbers
        assert all("arXiv 2407.13887" in number.source for number in published.numbers)
