"""From archives and rows of the originals' shape to pairs and completions."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gcrm.config.download import Download
from gcrm.data.completions import read_completions
from gcrm.data.conversions import write_completions, write_pairs
from gcrm.data.preferences import load_preferences
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_jsonl
from helpers.originals import FOLDER, jsonl, pair, pairs_zip, prediction, predictions_zip, zipped

Row = dict[str, Any]


def download(format: str, **settings: Any) -> Download:
    return Download(format=format, files=[{"url": "https://h.org/x"}], **settings)


def converted(tmp_path: Path, files: list[Path], entry: Download, seed: int = 0) -> list[Row]:
    output = tmp_path / "out" / "pairs.jsonl"
    counted = write_pairs(files, entry, output, tmp_path / "scratch", seed)
    rows = read_jsonl(output)
    assert counted == len(rows)
    return rows


def file(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


# --- pairs ------------------------------------------------------------------------------------


def test_the_authors_pairs_become_rows_of_their_train_split(tmp_path: Path) -> None:
    rows = [pair(f"How many legs have {i} dogs?") for i in range(30)]
    archive = file(tmp_path, "authors.zip", pairs_zip(tmp_path, rows))
    assert converted(tmp_path, [archive], download("pairs")) == rows


@pytest.mark.parametrize("folder", ["", "data"])
def test_other_archives_may_hold_json_lines(tmp_path: Path, folder: str) -> None:
    content = {"data/a.jsonl": jsonl([pair("a?")]), "data/b.jsonl": jsonl([pair("b?")])}
    archive = file(tmp_path, "p.zip", zipped(content))
    rows = converted(tmp_path, [archive], download("pairs", folder=folder))
    assert rows == [pair("a?"), pair("b?")]


def test_dialogues_and_what_else_a_row_says_stay_as_they_are(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        {"chosen": "\n\nHuman: d\n\nAssistant: é", "rejected": "\n\nHuman: d\n\nAssistant: f"},
    ]
    for row, margin in zip(rows, (0.5, 2), strict=True):
        row["margin"] = margin
    files = [file(tmp_path, f"{i}.jsonl.gz", gzip.compress(jsonl([rows[i]]))) for i in (0, 1)]
    assert converted(tmp_path, files, download("pairs")) == rows
    found = load_preferences([str(tmp_path / "out/pairs.jsonl")])
    assert [(pair.rejected, pair.margin) for pair in found] == [("c", 0.5), ("f", 2)]


def test_an_archive_without_pairs_is_told(tmp_path: Path) -> None:
    archive = file(tmp_path, "p.zip", zipped({"README": b"nothing here"}))
    with pytest.raises(UserError, match="neither a folder saved by `datasets` nor"):
        converted(tmp_path, [archive], download("pairs"))


PACKED = gzip.compress(bytes(range(256)) * 40, mtime=0)


@pytest.mark.parametrize(
    "content",
    [
        b"plain",
        PACKED[:-20],
        PACKED[:20] + bytes(each ^ 255 for each in PACKED[20:60]) + PACKED[60:],
    ],
)
def test_a_broken_gzip_is_one_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"is no .gz file that can be read"):
        converted(tmp_path, [file(tmp_path, "p.jsonl.gz", content)], download("pairs"))


# --- solutions --------------------------------------------------------------------------------


def test_correct_and_incorrect_solutions_of_several_files_become_pairs(tmp_path: Path) -> None:
    good = [prediction(f"q{i}?", True, f"right {i} {k}") for i in range(5) for k in range(9)]
    bad = [prediction(f"q{i}?", False, f"wrong {i} {k}") for i in range(4) for k in range(3)]
    files = [file(tmp_path, "correct.jsonl", jsonl(good)), file(tmp_path, "no.jsonl", jsonl(bad))]
    entry = download("solutions", max_pairs_per_problem=5)
    rows = converted(tmp_path, files, entry)
    assert len(rows) == 4 * 3
    assert all(row.keys() == {"question", "correct", "incorrect"} for row in rows)
    for row in rows:
        number = row["question"].strip("q?")
        assert row["correct"].startswith(f"right {number} ")
        assert row["incorrect"].startswith(f"wrong {number} ")
    assert converted(tmp_path, files[::-1], entry) != []
    assert {str(row) for row in converted(tmp_path, files[::-1], entry)} == set(map(str, rows))
    assert converted(tmp_path, files, entry, seed=1) != rows


def test_solutions_that_are_all_right_make_no_pair(tmp_path: Path) -> None:
    files = [file(tmp_path, "s.jsonl", jsonl([prediction("q?", True)]))]
    with pytest.raises(UserError, match=r"s.jsonl: no question has both a correct and an incor"):
        converted(tmp_path, files, download("solutions"))
    assert not (tmp_path / "out" / "pairs.jsonl").exists()


def test_a_broken_solution_is_named_with_its_row(tmp_path: Path) -> None:
    rows = [prediction("q?", True), {"question": "q?"}]
    with pytest.raises(UserError, match=r"s.jsonl, row 2: key 'generated_solution' is missing"):
        converted(tmp_path, [file(tmp_path, "s.jsonl", jsonl(rows))], download("solutions"))


# --- completions ------------------------------------------------------------------------------


def unpacked(tmp_path: Path, content: bytes, benchmarks: list[str], **samples: int) -> Path:
    archive = file(tmp_path, "predictions.zip", content)
    entry = download("completions", folder=FOLDER, samples=samples)
    target = tmp_path / "completions"
    problems = write_completions(archive, entry, benchmarks, target, tmp_path / "scratch")
    assert problems == dict.fromkeys(benchmarks, 3)
    return target


def test_samples_of_an_earlier_run_that_had_more_go(tmp_path: Path) -> None:
    content = predictions_zip({"gsm8k": 3})
    for samples in (3, 1):
        target = unpacked(tmp_path, content, ["gsm8k"], gsm8k=samples)
        assert len(read_completions(target, "gsm8k", "all")) == 3 * samples


def test_predictions_get_the_layout_that_the_other_stages_read(tmp_path: Path) -> None:
    content = predictions_zip({"gsm8k": 3, "svamp": 1, "mawps": 0})
    target = unpacked(tmp_path, content, ["gsm8k", "svamp"], gsm8k=2)
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*.jsonl")) == [
        "gsm8k/output-greedy.jsonl",
        "gsm8k/output-rs0.jsonl",
        "gsm8k/output-rs1.jsonl",
        "svamp/output-greedy.jsonl",
    ]
    rows = read_completions(target, "gsm8k", "all")
    assert [row["sample"] for row in rows] == [0, 0, 0, 1, 1, 1]
    first = json.loads((target / "gsm8k/output-rs0.jsonl").read_text().splitlines()[0])
    assert first == {
        "question": "gsm8k 0?",
        "expected_answer": "18",
        "generated_solution": rows[0]["generated_solution"],
        "predicted_answer": None,
        "is_correct": False,
    }


def test_samples_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        unpacked(tmp_path, predictions_zip({"gsm8k": 1}), ["gsm8k"], gsm8k=2)
    assert f"has no {FOLDER}/gsm8k/output-rs1.jsonl (in that folder: 2 files" in str(error.value)


def test_a_benchmark_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"has no {FOLDER}/math/output-greedy.jsonl"):
        unpacked(tmp_path, predictions_zip({"gsm8k": 1}), ["gsm8k", "math"])


def test_a_broken_prediction_is_named(tmp_path: Path) -> None:
    name = f"{FOLDER}/gsm8k/output-greedy.jsonl"
    content = zipped({name: jsonl([prediction("q?", True, is_correct="yes")])})
    with pytest.raises(UserError, match="row 1: is_correct must be true or"):
        unpacked(tmp_path, content, ["gsm8k"])
