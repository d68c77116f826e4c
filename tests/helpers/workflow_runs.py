"""Copies of the project for tests to change, and Snakemake as users call it."""

import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from helpers.dialogues import write_dialogues
from helpers.snakemake_process import run_snakemake

ROOT = Path(__file__).parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
Jobs = dict[str, str]
"""What would run: message of the job (its stage first) -> the reason that Snakemake gives."""

# The base model learns to write answers, but hardly to calculate: one in a hundred is right. So
# many problems give pairs on any CPU, though the CPU's rounding decides about single solutions.
SMALL: dict[str, Any] = {
    "run": "small",
    "benchmarks": ["gsm8k", "svamp"],
    "prepare": {
        "pretrain_problems": 2000,
        "preference_problems": 400,
        "benchmark_problems": 100,
        "dev_problems": 5,
        "preference_families": ["gsm8k"],
    },
    "pretrain": {
        "layers": 2,
        "hidden_size": 64,
        "heads": 2,
        "steps": 100,
        "batch_size": 32,
        "learning_rate": 0.006,
    },
    "sample": {"max_new_tokens": 32, "num_samples": {"gsm8k": 2, "preference": 3}},
    "pair": {},
    "train": {"train_batch_size": 4, "micro_train_batch_size": 4, "learning_rate": 0.001},
    "variants": {
        "vanilla": {},
        "contrastive": {
            "reward_model_strategy": "contrastive",
            "contrastive_loss_beta": 0.5,
        },
    },
    "metrics": {"bootstrap_resamples": 50},
    "report": {"synthetic": True},
    "threads": {"pretrain": 1},
}

HELDOUT = {"dialogues": "data/heldout.jsonl"}
TITLE = 'it\'s "quoted"; touch pwned; `touch pwned` $(touch pwned)\n& touch pwned {x}'
KEYS = {"HF_TOKEN": "hf_0123456789abcdefgh", "WANDB_API_KEY": "9" * 20 + "a" * 20}
WHOLE: dict[str, Any] = SMALL | {
    "benchmarks": ["gsm8k"],
    "heldout": HELDOUT,
    "report": {"synthetic": True, "title": TITLE},
    "track": {"wandb_project": "p", "wandb_group": TITLE, "wandb_tags": ["a", "b c"]},
    "train": SMALL["train"] | {"max_epochs": 3, "save_steps": 2},
    "goals": {"examples": [1, 10]},
    "gpus": {"train": 1, "evaluate": 1},
    "generate": {"num_samples": 4, "keep_samples": 2, "max_new_tokens": 32, "check_every": 8},
}
"""with all stages, a benchmark, a held-out set, awkward texts, checkpoints, and pretended GPUs"""


def whole_project(folder: Path) -> Path:
    """A copy of the project for the run of `WHOLE`, with its held-out pairs."""
    project = copy_project(folder, WHOLE)
    write_dialogues(project / HELDOUT["dialogues"], 12)
    return project


def whole_environment(project: Path) -> dict[str, str]:
    """The environment of the run of `WHOLE`: keys, and two pretended GPUs."""
    gpus = {"GCRM_PRETENDED_GPUS": "2", "GCRM_GPU_FOLDER": str(project / "locks")}
    return {"WANDB_MODE": "offline", **gpus, **KEYS}


def small_run_in(folder: Path) -> tuple[Path, str]:
    """The project after the run of `WHOLE`, and its screen; made by the first caller.

    Others wait for it, also in other processes. Do not change the files of the project: copy it.
    """
    folder.mkdir(exist_ok=True)
    screen = folder / "screen.txt"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not screen.exists():
            shutil.rmtree(folder / "project", ignore_errors=True)
            project = whole_project(folder / "project")
            done = snakemake(project, "--cores", "2", **whole_environment(project))
            assert done.returncode == 0, done.stdout + done.stderr
            screen.write_text(done.stdout + done.stderr)
    return folder / "project", screen.read_text()


def copy_project(folder: Path, config: dict[str, Any] = SMALL) -> Path:
    """The package and the workflow in `folder`, with `config` as the default config."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("gcrm", "workflow"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    write_config(folder / "config" / "config.yaml", config)
    return folder


def write_config(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def clean_environment(project: Path, **more: str) -> dict[str, str]:
    """What a job can count on, and no more."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(project), "HF_HUB_OFFLINE": "1", **more}


def snakemake(project: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `project`, without an activated environment."""
    return run_snakemake(args, project, clean_environment(project, **environment))


def would_run(project: Path, *args: str, **environment: str) -> Jobs:
    """Ask Snakemake what it would run, and why (without the target `all`, which runs nothing)."""
    asked = snakemake(project, "--dry-run", *args, **environment)
    assert asked.returncode == 0, asked.stdout + asked.stderr
    found = re.findall(r"^Job \d+: (.+)\nReason: (.+)$", asked.stdout + asked.stderr, re.MULTILINE)
    if not found:
        assert "Nothing to be done" in asked.stdout + asked.stderr
    return dict(found)


def pretend_it_ran(project: Path, *args: str) -> None:
    """Make all results with a fake content, and let Snakemake take them for its own."""
    listed = snakemake(project, "--summary", *args)
    assert listed.returncode == 0, listed.stderr
    for line in listed.stdout.splitlines()[1:]:
        path = project / line.split("\t")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        # Models are larger than the 1 MB up to which Snakemake by itself compares content.
        path.write_text(f"{path.name} " * (200_000 if path.suffix == ".safetensors" else 1))
    touched = snakemake(project, "--touch", "--forceall", "--cores", "1", *args)
    assert touched.returncode == 0, touched.stderr


def slow_training(project: Path, seconds: float, condition: str) -> None:
    """Let the trainings of a project wait in each step while a condition holds; else as always."""
    with (project / "gcrm" / "training" / "callbacks.py").open("a") as file:
        file.write(SLOWLY.format(seconds=seconds, condition=condition))


SLOWLY = """

# A test's: training takes as long on any machine.
import time


def _slowly(self, args, *others, on_step_end=ProgressLine.on_step_end, **named):
    time.sleep({seconds} if {condition} else 0)
    return on_step_end(self, args, *others, **named)


ProgressLine.on_step_end = _slowly
"""
