"""Small archives and rows of the shape that the paper's data have."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FOLDER = "openmath-test-predictions/codellama-7b"


def zipped(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def jsonl(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def prediction(question: str, correct: bool, text: str = "", **more: Any) -> Row:
    """A row of NeMo-Skills' predictions, or of OpenMathInstruct-1."""
    answer = "18" if correct else "17"
    solution = text or f"<llm-code>\n9 * 2\n</llm-code>\nSo the answer is \\boxed{{{answer}}}."
    return {
        "question": question,
        "expected_answer": 18,
        "predicted_answer": answer if correct else None,
        "error_message": "",
        "is_correct": correct,
        "generation_type": "without_reference_solution",
        "dataset": "gsm8k",
        "generated_solution": solution,
        **more,
    }


def predictions_zip(samples: Mapping[str, int], problems: int = 3) -> bytes:
    """openmath-test-predictions.zip, with a model that is not wanted and what macOS adds."""
    files = {"openmath-test-predictions/mistral-7b/gsm8k/output-greedy.jsonl": b"not wanted"}
    for benchmark, number in samples.items():
        for name in ["greedy", *(f"rs{k}" for k in range(number))]:
            rows = [
                prediction(f"{benchmark} {i}?", correct=(i + len(name)) % 2 == 0)
                for i in range(problems)
            ]
            files[f"{FOLDER}/{benchmark}/output-{name}.jsonl"] = jsonl(rows)
    files[f"__MACOSX/{FOLDER}/._gsm8k"] = b"\0"
    return zipped(files)


def pairs_zip(folder: Path, train: list[Row]) -> bytes:
    """preference_ranking_dataset.zip: a DatasetDict that `datasets` saved, with a test split."""
    import datasets

    saved = folder / "preference_ranking_dataset"
    test = [dict.fromkeys(train[0], "held out")]
    datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_list(train),
            "test": datasets.Dataset.from_list(test),
        }
    ).save_to_disk(str(saved))
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(saved.rglob("*"))
        if path.is_file()
    }
    return zipped(files | {"__MACOSX/preference_ranking_dataset/._x": b"\0"})


def pair(question: str) -> Row:
    return {"question": question, "correct": f"{question} 18", "incorrect": f"{question} 17"}
