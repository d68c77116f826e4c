"""Stage `prepare`: makes the problems of a synthetic run, or fetches and checks real data.

What it finds (sizes, accuracies, questions that training data and benchmarks share) goes into a
JSON report; shared questions are also said aloud, since they make a benchmark's numbers too good.
"""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from gcrm.cli import run_stage
from gcrm.config.layout import Split, completion_files
from gcrm.config.prepare import PrepareOptions
from gcrm.data.completions import read_completions
from gcrm.data.fetched import fetch_data
from gcrm.data.preferences import read_heldout, read_preferences
from gcrm.data.questions import question_key
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.synthetic.problem_families import FAMILIES
from gcrm.synthetic.problems import make_problems
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, write_json, write_jsonl
from gcrm.utils.logging import say

SHARED_SHOWN = 20
"""shared questions that the report quotes, of each benchmark"""
HARDER = ("gsm8k", "math", "svamp")
"""families that need more examples: the base model is to solve a good part of each"""


def run(options: PrepareOptions) -> None:
    """Make the problem sets, or fetch and check data; write the report if one is asked for."""
    if options.problems_dir is not None:
        sets = make_sets(options)
        for name, rows in sets.items():
            write_jsonl(options.problems_dir / f"{name}.jsonl", rows)
        say(f"prepare: made {sum(map(len, sets.values()))} problems in {len(sets)} sets")
        files = [options.problems_dir / f"{name}.jsonl" for name in sets]
        write_provenance(options.problems_dir / "provenance.json", options, outputs=files)
        facts: dict[str, Any] = {"inputs": [*files, *options.heldout]}
        report = report_made(sets, options)
    else:
        downloaded = fetch_data(options)
        report = check_data(options)
        facts = _facts(options)
        if downloaded:
            report["downloads"] = facts["downloads"] = downloaded
    _say_shared("benchmarks", report["benchmarks"])
    _say_shared("held-out preferences", report["heldout"])
    if options.report is not None:
        write_json(options.report, report)
        outputs = [options.report, *facts.pop("outputs", [])]
        write_provenance(beside(options.report), options, outputs=outputs, **facts)


def _facts(options: PrepareOptions) -> dict[str, Any]:
    """The data that were checked: those that were brought, and those made of downloads."""
    formats = {download.format for download in options.downloads.values()}
    files: dict[str, list[Path | str]] = {"inputs": [], "outputs": []}
    for source in [*options.dataset, *options.heldout]:
        made = (
            options.preferences_dir is not None and Path(source).parent == options.preferences_dir
        )
        files["outputs" if made else "inputs"].append(Path(source) if made else source)
    if options.completions_data_path is not None:
        files["outputs" if "completions" in formats else "inputs"] += [
            file
            for name in options.benchmarks
            for split in get_args(Split)
            for file in completion_files(options.completions_data_path, name, split)
        ]
    return dict(files)


def _say_shared(what: str, sets: dict[str, Any]) -> None:
    """Warn of questions that are in the training data, too: they flatter the reward models."""
    counts = {name: found["shared_with_training"] for name, found in sets.items()}
    if shared := sum(counts.values()):
        each = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        say(f"prepare: WARNING: training data and {what} share {shared} questions ({each})")
    elif sets:
        say(f"prepare: training data and {what} share no question")


def make_sets(options: PrepareOptions) -> dict[str, list[Row]]:
    """All sets of problems by name, no question in two of them.

    The order of making is fixed, smallest sets first, so that a larger `pretrain` set leaves the
    others as they are. Sets: `<benchmark>`, `dev-<benchmark>`, `preference-<family>`, `pretrain`.

    Raises:
        UserError: a benchmark or family that cannot be made, or more problems than there are.
    """
    for key, names in (
        ("benchmarks", options.benchmarks),
        ("preference_families", options.preference_families),
    ):
        if unknown := [name for name in names if name not in FAMILIES]:
            raise UserError(
                f"{key}: no problems can be made for {', '.join(unknown)}; known are "
                f"{', '.join(FAMILIES)}"
            )
    sizes = (
        [(name, name, options.benchmark_problems) for name in options.benchmarks]
        + [(f"dev-{name}", name, options.dev_problems) for name in options.benchmarks]
        + [
            (f"preference-{name}", name, options.preference_problems)
            for name in options.preference_families
        ]
    )
    taken: set[str] = set()
    sets = {
        name: _made(name, family, count, options, options.rare_words, taken)
        for name, family, count in sizes
    }
    pretrain = [
        row
        for family, count in _pretrain_sizes(options.pretrain_problems).items()
        for row in _made(
            f"pretrain-{family}", family, count, options, options.pretrain_rare_words, taken
        )
    ]
    random.Random(f"{options.data_seed} pretrain").shuffle(pretrain)
    return sets | {"pretrain": pretrain}


def _pretrain_sizes(total: int) -> dict[str, int]:
    """How many problems of each family the base model learns from, HARDER ones twice as many."""
    order = [*FAMILIES, *HARDER]
    return {
        family: sum(
            len(range(i, total, len(order))) for i, name in enumerate(order) if name == family
        )
        for family in FAMILIES
    }


def _made(
    name: str,
    family: str,
    count: int,
    options: PrepareOptions,
    rare_words: float,
    taken: set[str],
) -> list[Row]:
    rng = random.Random(f"{options.data_seed} {name}")
    problems = make_problems(family, count, rng, taken, rare_words)
    return [vars(problem).copy() for problem in problems]


def report_made(sets: dict[str, list[Row]], options: PrepareOptions) -> dict[str, Any]:
    """The report on made problems. Training data is all that is no benchmark and no `dev` set."""
    training = {
        name: rows
        for name, rows in sets.items()
        if name == "pretrain" or name.startswith("preference-")
    }
    keys = _keys(row["question"] for rows in training.values() for row in rows)
    return {
        "made": True,
        "training": {name: {"rows": len(rows)} for name, rows in training.items()},
        "benchmarks": {
            name: {"problems": len(sets[name]), **_shared(_questions(sets[name]), keys)}
            for name in options.benchmarks
        },
        "heldout": _check_heldout(options.heldout, keys),
        "dev": {name: len(rows) for name, rows in sets.items() if name.startswith("dev-")},
    }


def check_data(options: PrepareOptions) -> dict[str, Any]:
    """The report on given data, all of which is read and checked.

    Raises:
        UserError: a file is missing, a row is broken, or a question is too long.
    """
    training: dict[str, Any] = {}
    keys: set[str] = set()
    for source in options.dataset:
        pairs = read_preferences([source])
        found = _keys(pair.question for pair in pairs)
        training[source] = {"rows": len(pairs), "questions": len(found)}
        say(f"prepare: {source}: {len(pairs)} pairs of {len(found)} questions")
        keys |= found
    benchmarks: dict[str, Any] = {}
    if options.completions_data_path is not None:
        for name in options.benchmarks:
            benchmarks[name] = _check_benchmark(options, name, keys)
    heldout = _check_heldout(options.heldout, keys)
    if options.base_model is not None and options.completions_data_path is not None:
        from gcrm.modeling.prompt_lengths import check_prompt_lengths

        check_prompt_lengths(
            options.base_model,
            options.completions_data_path,
            options.benchmarks,
            options.max_len,
            options.max_problems,
        )
    return {"made": False, "training": training, "benchmarks": benchmarks, "heldout": heldout}


def _check_heldout(sources: list[str], keys: set[str]) -> dict[str, Any]:
    found = {}
    for source in sources:
        pairs = read_heldout([source])
        prompts = [pair.question for pair in pairs]
        found[source] = {
            "rows": len(pairs),
            "questions": len(_keys(prompts)),
            **_shared(prompts, keys),
        }
        say(
            f"prepare: {source}: {len(pairs)} held-out pairs, "
            f"{found[source]['shared_with_training']} prompts shared with training data"
        )
    return found


def _check_benchmark(options: PrepareOptions, name: str, keys: set[str]) -> dict[str, Any]:
    folder = options.completions_data_path
    assert folder is not None
    greedy = read_completions(folder, name, "greedy")
    found: dict[str, Any] = {
        "problems": len(_keys(_questions(greedy))),
        "greedy": _accuracy(greedy),
    }
    if files := completion_files(folder, name, "all"):
        samples = read_completions(folder, name, "all")
        found["all"] = {"files": len(files), **_accuracy(samples)}
        greedy += samples
    found |= _shared(_questions(greedy), keys)
    say(
        f"prepare: {name}: {found['problems']} problems, {found['greedy']['accuracy']:.1%} of the "
        f"greedy solutions correct"
        + (f", {len(files)} files of samples" if files else "")
        + (f", {found['shared_with_training']} shared" if found["shared_with_training"] else "")
    )
    return found


def _accuracy(rows: list[Row]) -> dict[str, Any]:
    correct = sum(row["is_correct"] for row in rows)
    return {"rows": len(rows), "correct": correct, "accuracy": correct / len(rows)}


def _shared(questions: Iterable[str], keys: set[str]) -> dict[str, Any]:
    """How many questions are in the training data too, and some of them as they are spelt."""
    shared = {key: question for question in questions if (key := question_key(question)) in keys}
    return {"shared_with_training": len(shared), "shared": sorted(shared.values())[:SHARED_SHOWN]}


def _questions(rows: list[Row]) -> list[str]:
    return [row["question"] for row in rows]


def _keys(questions: Iterable[str]) -> set[str]:
    return {question_key(question) for question in questions}


if __name__ == "__main__":
    raise SystemExit(run_stage(PrepareOptions, run))
