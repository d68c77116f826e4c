"""The data report: sizes, accuracies, and questions shared by training and evaluation data."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcrm.config.layout import completion_files
from gcrm.data.completions import read_completions
from gcrm.data.preferences import load_preferences
from gcrm.data.questions import question_key
from gcrm.utils.io import Row
from gcrm.utils.logging import say

SHARED_SHOWN = 20
"""shared questions of each benchmark listed in the report"""


def report_on_data(
    dataset: Sequence[str],
    completions: Path | None,
    benchmarks: Sequence[str],
    heldout: Sequence[str],
) -> dict[str, Any]:
    """Read and check given data, and report on it.

    Args:
        dataset: sources of training pairs.
        completions: folder of the completions of `benchmarks`, if any.
        heldout: sources of held-out pairs.

    Raises:
        UserError: a file is missing, or a row is invalid.
    """
    training: dict[str, Any] = {}
    keys: set[str] = set()
    for source in dataset:
        questions = [question_key(pair.question) for pair in load_preferences([source])]
        found = set(questions)
        training[source] = {"rows": len(questions), "questions": len(found)}
        say(f"prepare: {source}: {len(questions)} pairs of {len(found)} questions")
        keys |= found
    return {
        "made": False,
        "training": training,
        "benchmarks": {
            name: _benchmark(completions, name, keys) for name in benchmarks if completions
        },
        "heldout": _heldout(heldout, keys),
    }


def report_on_made(
    sets: Mapping[str, list[Row]], benchmarks: Sequence[str], heldout: Sequence[str]
) -> dict[str, Any]:
    """Report on synthetic problems; training data are `pretrain` and the `preference-` sets."""
    training = {
        name: rows
        for name, rows in sets.items()
        if name == "pretrain" or name.startswith("preference-")
    }
    keys = {question_key(row["question"]) for rows in training.values() for row in rows}
    return {
        "made": True,
        "training": {name: {"rows": len(rows)} for name, rows in training.items()},
        "benchmarks": {
            name: {
                "problems": len(sets[name]),
                **_shared((row["question"] for row in sets[name]), keys),
            }
            for name in benchmarks
        },
        "heldout": _heldout(heldout, keys),
        "dev": {name: len(rows) for name, rows in sets.items() if name.startswith("dev-")},
    }


def warn_of_shared(report: Mapping[str, Any]) -> None:
    """Warn of evaluation questions that are also in the training data."""
    for key, what in (("benchmarks", "benchmarks"), ("heldout", "held-out preferences")):
        counts = {name: found["shared_with_training"] for name, found in report[key].items()}
        if shared := sum(counts.values()):
            each = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
            say(f"prepare: WARNING: training data and {what} share {shared} questions ({each})")
        elif counts:
            say(f"prepare: training data and {what} share no questions")


def _heldout(sources: Sequence[str], keys: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for source in sources:
        prompts = [pair.question for pair in load_preferences([source], heldout=True)]
        shared = _shared(prompts, keys)
        questions = len(set(map(question_key, prompts)))
        found[source] = {"rows": len(prompts), "questions": questions, **shared}
        say(
            f"prepare: {source}: {len(prompts)} held-out pairs, "
            f"{shared['shared_with_training']} prompts shared with training data"
        )
    return found


def _benchmark(completions: Path, name: str, keys: set[str]) -> dict[str, Any]:
    rows = read_completions(completions, name, "greedy")
    problems = len({question_key(row["question"]) for row in rows})
    found: dict[str, Any] = {"problems": problems, "greedy": _accuracy(rows)}
    if files := completion_files(completions, name, "all"):
        samples = read_completions(completions, name, "all")
        found["all"] = {"files": len(files), **_accuracy(samples)}
        rows += samples
    found |= _shared((row["question"] for row in rows), keys)
    say(
        f"prepare: {name}: {problems} problems, {found['greedy']['accuracy']:.1%} of the "
        f"greedy solutions correct"
        + (f", {len(files)} files of samples" if files else "")
        + (f", {found['shared_with_training']} shared" if found["shared_with_training"] else "")
    )
    return found


def _accuracy(rows: list[Row]) -> dict[str, Any]:
    correct = sum(row["is_correct"] for row in rows)
    return {"rows": len(rows), "correct": correct, "accuracy": correct / len(rows)}


def _shared(questions: Iterable[str], keys: set[str]) -> dict[str, Any]:
    """How many questions are also in the training data, and some of them verbatim."""
    shared = {key: question for question in questions if (key := question_key(question)) in keys}
    return {"shared_with_training": len(shared), "shared": sorted(shared.values())[:SHARED_SHOWN]}
