"""A folder in which every stage has run once: files to be broken, and the command of each stage."""

import os
import runpy
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from gcrm.cli import run_stage
from helpers.models import save_base_model, save_reward_model
from helpers.rows import write_rows
from helpers.stage_options import OPTIONS
from helpers.training import write_pairs
from helpers.workflow_runs import SMALL, write_config

COMMANDS = {
    "prepare": "--benchmarks b --dataset pairs.jsonl --completions_data_path completions "
    "--base_model base --heldout heldout.jsonl --report data/report.json --max_len 64",
    "pretrain": "--problems problems.jsonl --save_path own-base --layers 1 --hidden_size 16 "
    "--heads 2 --steps 2 --batch_size 8",
    "sample": "--model base --problems problems.jsonl --save_dir drawn/problems --max_new_tokens 4",
    "convert": "--greedy log.jsonl --save_dir converted/b",
    "pair": "--completions completions/b/output-greedy.jsonl completions/b/output-rs0.jsonl "
    "--output made-pairs.jsonl",
    "train": "--pretrain base --dataset pairs.jsonl --save_path models/a/seed0 --max_len 64 "
    "--train_batch_size 8 --micro_train_batch_size 8 --max_epochs 1",
    "represent": "--reward_model_path rm --dataset_path pairs.jsonl --save_dir goal --max_len 64",
    "evaluate": "--reward_model_path rm --completions_data_path completions --benchmarks b "
    "--splits greedy --goal_state_path goal/goal_state.npy --max_len 64 "
    "--output scores/a/seed0/b/greedy/scores.parquet",
    "goals": "--reward_model_path rm --dataset_path pairs.jsonl --completions_data_path completions"
    " --benchmarks b --examples 1 2 --max_len 64 --output goals/a/seed0.jsonl",
    "generate": "--model base --reward_model_path rm --goal_state_path goal/goal_state.npy "
    "--problems problems.jsonl --save_dir generated/a/seed0/b --num_samples 2 --keep_samples 1 "
    "--max_new_tokens 6 --check_every 3 --skip_tokens 1 --bootstrap_resamples 10",
    "steer": "--model base --reward_model_path rm --goal_state_path goal --problems problems.jsonl "
    "--save_dir steered --methods guided --step_tokens 3 --max_new_tokens 6 "
    "--bootstrap_resamples 10",
    "policy": "--pretrain base --reward_model_path rm --dataset pairs.jsonl "
    "--save_path trained/p/seed0 --steps 1 --logging_steps 1 --batch_size 4 --max_new_tokens 4 "
    "--problems problems.jsonl",
    "metrics": "--scores scores/a/seed0/b/greedy/scores.parquet --bootstrap_resamples 10 "
    "--output metrics/a/seed0/b.json",
    "compare": "--scores scores/a/seed0/b/greedy/scores.parquet "
    "scores/z/seed0/b/greedy/scores.parquet --bootstrap_resamples 10 --output comparisons/b.json",
    "policies": "--policies trained/p/seed0 "
    "--base_solutions drawn/problems/output-greedy.jsonl --save_dir compared",
    "export": "--scores scores/a/seed0/b/greedy/scores.parquet --output exported/output.jsonl",
    "track": "--run r --metrics metrics/a/seed0/b.json --models_dir models --output track.jsonl",
    "report": "--run r --metrics metrics/a/seed0/b.json --scores_dir scores --save_dir report",
    "trace": "metrics/a/seed0/b.json",
    "push": "--reward_model_path models/a/seed0 --repo a/b --dry_run",
    "cost": "--config config.yaml",
    "verify": "--config config.yaml --digests digests.json",
    "serve": "--reward_model_path rm --goal_state_path goal/goal_state.npy --port 0",
}
"""a command of each stage in this folder, in an order in which each one finds what it reads"""


def options_of(stage: str) -> type[Any]:
    """The class of a stage's options."""
    return OPTIONS[f"{stage.capitalize()}Options"]


def run(stage: str, words: str | list[str]) -> int:
    """The exit status of a stage in this process; an exception that is no mistake passes."""
    words = words.split() if isinstance(words, str) else words
    if stage == "trace":
        sys.argv = ["trace", *words]
        try:
            runpy.run_module("gcrm.trace", run_name="__main__")
        except SystemExit as ended:
            return int(ended.code or 0)
    return run_stage(options_of(stage), import_module(f"gcrm.{stage}").run, words)


def make_world(folder: Path) -> Path:
    """Make the folder; the current one is it afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    save_base_model(Path("base"))
    save_reward_model(Path("rm"), Path("base"), scale=10)
    write_pairs(Path("pairs.jsonl"), 12)
    write_pairs(Path("heldout.jsonl"), 4, wrong=5)
    questions = [f"tom has {i} apples . how many ?" for i in range(6)]
    problems = [{"question": q, "expected_answer": str(i)} for i, q in enumerate(questions)]
    solved = [one | {"solution": f"answer {one['expected_answer']}"} for one in problems]
    write_rows(Path("problems.jsonl"), *solved)
    for name, right in (("greedy", lambda i: i % 2 == 0), ("rs0", lambda i: i % 2 == 1)):
        rows = [
            problem
            | {"generated_solution": f"answer {i if right(i) else i + 1}"}
            | {"predicted_answer": str(i if right(i) else i + 1), "is_correct": right(i)}
            for i, problem in enumerate(problems)
        ]
        write_rows(Path(f"completions/b/output-{name}.jsonl"), *rows)
    write_rows(Path("log.jsonl"), *(log_row(i) for i in range(3)))
    write_config(Path("config.yaml"), SMALL | {"run": "r"})
    Path("results").mkdir()
    for stage, words in COMMANDS.items():
        if stage == "compare":
            shutil.copytree("scores/a", "scores/z")
        if stage == "verify":
            made = Path("results/r/metrics/vanilla/seed0/gsm8k.json")
            made.parent.mkdir(parents=True)
            shutil.copy("metrics/a/seed0/b.json", made)
            assert run(stage, f"{words} --write") == 0
        if stage != "serve":
            assert run(stage, words) == 0, stage
    return folder


def log_row(number: int) -> dict[str, Any]:
    """A row of a log of lm-eval."""
    arguments = {"arg_0": "Question: How many?", "arg_1": {"until": ["\n"], "do_sample": False}}
    return {
        "doc_id": number,
        "doc": {"question": f"How many {number}?", "answer": "#### 7"},
        "target": "#### 7",
        "arguments": {"gen_args_0": arguments},
        "resps": [["It is 7."]],
        "filtered_resps": ["7"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    }


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all files; what a stage did not touch is the same afterwards."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and ".lock" not in path.name:
            stat = path.stat()
            found[str(path.relative_to(folder))] = (stat.st_size, stat.st_mtime_ns)
    return found
