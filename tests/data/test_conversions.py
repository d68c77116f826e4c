"""Converting archives and rows in the authors' layout to pairs and completions."""

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


def test_pairs_come_from_the_train_split_of_the_authors_archive(tmp_path: Path) -> None:
    rows = [pair(f"How many legs have {i} dogs?") for i in range(30)]
    archive = file(tmp_path, "authors.zip", pairs_zip(tmp_path, rows))
    assert converted(tmp_path, [archive], download("pairs")) == rows
    held_out = [dict.fromkeys(rows[0], "held out")]
    assert converted(tmp_path, [archive], download("pairs", split="test")) == held_out
    with pytest.raises(UserError, match=r"has no split 'dev' \(there are: train, test\)"):
        converted(tmp_path, [archive], download("pairs", split="dev"))


@pytest.mark.parametrize("folder", ["", "data"])
def test_archives_of_json_lines(tmp_path: Path, folder: str) -> None:
    content = {"data/a.jsonl": jsonl([pair("a?")]), "data/b.jsonl": jsonl([pair("b?")])}
    archive = file(tmp_path, "p.zip", zipped(content))
    rows = converted(tmp_path, [archive], download("pairs", folder=folder))
    assert rows == [pair("a?"), pair("b?")]


def test_dialogues_and_margins_are_kept(tmp_path: Path) -> None:
    leads = "\n\nHuman: a\n\nAssistant: ", "\n\nHuman: d\n\nAssistant: "
    rows: list[Row] = [
        {"chosen": f"{leads[0]}b", "rejected": f"{leads[0]}c", "margin": 0.5},
        {"chosen": f"{leads[1]}é", "rejected": f"{leads[1]}f", "margin": 2},
    ]
    files = [file(tmp_path, f"{i}.jsonl.gz", gzip.compress(jsonl([rows[i]]))) for i in (0, 1)]
    assert converted(tmp_path, files, download("pairs")) == rows
    found = load_preferences([str(tmp_path / "out/pairs.jsonl")])
    assert [(pair.rejected, pair.margin) for pair in found] == [("c", 0.5), ("f", 2)]


PACKED = gzip.compress(bytes(range(256)) * 40, mtime=0)
DAMAGED = PACKED[:20] + bytes(each ^ 255 for each in PACKED[20:60]) + PACKED[60:]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.zip", zipped({"README": b""}), "neither a folder saved by `datasets` nor .jsonl"),
        ("p.jsonl.gz", b"plain", r"p.jsonl.gz: not a readable .gz file"),
        ("p.jsonl.gz", PACKED[:-20], r"not a readable .gz file"),
        ("p.jsonl.gz", DAMAGED, r"not a readable .gz file"),
    ],
)
def test_unreadable_archives_are_reported(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        converted(tmp_path, [file(tmp_path, name, content)], download("pairs"))


# --- solutions --------------------------------------------------------------------------------


def test_solutions_of_several_files_become_pairs(tmp_path: Path) -> None:
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
    assert {str(row) for row in converted(tmp_path, files[::-1], entry)} == set(map(str, rows))
    assert converted(tmp_path, files, entry, seed=1) != rows


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "s.jsonl: no question has both a correct and an incorrect solution"),
        ([{"question": "q?"}], "s.jsonl, row 2: key 'generated_solution' is missing"),
    ],
)
def test_solutions_without_pairs_are_refused(tmp_path: Path, more: list[Row], message: str) -> None:
    files = [file(tmp_path, "s.jsonl", jsonl([prediction("q?", True), *more]))]
    with pytest.raises(UserError, match=message):
        converted(tmp_path, files, download("solutions"))
    assert not (tmp_path / "out" / "pairs.jsonl").exists()


# --- completions ------------------------------------------------------------------------------


def unpacked(tmp_path: Path, content: bytes, benchmarks: list[str], **samples: int) -> Path:
    archive = file(tmp_path, "predictions.zip", content)
    entry = download("completions", folder=FOLDER, samples=samples)
    target = tmp_path / "completions"
    problems = write_completions(archive, entry, benchmarks, target, tmp_path / "scratch")
    assert problems == dict.fromkeys(benchmarks, 3)
    return target


def test_surplus_samples_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    content = predictions_zip({"gsm8k": 3})
    for samples in (3, 1):
        target = unpacked(tmp_path, content, ["gsm8k"], gsm8k=samples)
        assert len(read_completions(target, "gsm8k", "all")) == 3 * samples


def test_predictions_become_completion_files(tmp_path: Path) -> None:
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


INVALID = jsonl([prediction("q?", True, is_correct="yes")])


@pytest.mark.parametrize(
    ("content", "benchmarks", "samples", "message"),
    [
        (
            predictions_zip({"gsm8k": 1}),
            ["gsm8k"],
            2,
            f"has no {FOLDER}/gsm8k/output-rs1.jsonl (in that folder: 2 files",
        ),
        (
            predictions_zip({"gsm8k": 1}),
            ["gsm8k", "math"],
            1,
            f"has no {FOLDER}/math/output-greedy.jsonl",
        ),
        (
            zipped({f"{FOLDER}/gsm8k/output-greedy.jsonl": INVALID}),
            ["gsm8k"],
            0,
            "row 1: is_correct must be true or",
        ),
    ],
)
def test_missing_and_invalid_predictions_are_named(
    tmp_path: Path, content: bytes, benchmarks: list[str], samples: int, message: str
) -> None:
    with pytest.raises(UserError) as error:
        unpacked(tmp_path, content, benchmarks, gsm8k=samples)
    assert message in str(error.value)
