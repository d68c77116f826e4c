import json
import os
import re
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcrm.config import reference
from helpers.models import save_base_model
from helpers.workflow_runs import (
    ROOT,
    SMALL,
    copy_project,
    pretend_it_ran,
    snakemake,
    would_run,
    write_config,
)

Copy = Callable[[], Path]

NASTY = "my 'own' \"data\" $HOME `touch pwned`;\n& touch pwned #*"
"""The name of a folder: in a shell that read it, it would make a file."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that makes everything, finished."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    pretend_it_ran(project)
    return project


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


@pytest.fixture(scope="module")
def finished_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that brings everything, in a folder whose name a shell could trip over."""
    project = copy_project(tmp_path_factory.mktemp("own"))
    data = project / NASTY
    write_own_data(data)
    write_config(project / "own.yaml", own_config(data.name))
    pretend_it_ran(project, "--configfile", "own.yaml")
    return project


@pytest.fixture
def own_project(finished_own: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_own, tmp_path / "project"))


def write_own_data(data: Path) -> None:
    (data / "base").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (data / "base" / name).write_text("{}")
    pair = {"question": "2 + 3 ?", "correct": "5", "incorrect": "6"}
    (data / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    row = {"question": "1 + 1 ?", "generated_solution": "2", "is_correct": True}
    for file in ("gsm8k/output-greedy", "gsm8k/output-rs0", "svamp/output-greedy"):
        path = data / "completions" / f"{file}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row) + "\n")


def own_config(data: str) -> dict[str, Any]:
    making = ("prepare", "pretrain", "sample", "pair")
    return {key: value for key, value in SMALL.items() if key not in making} | {
        "run": "own",
        "base_model": f"{data}/base",
        "preferences": f"{data}/pairs.jsonl",
        "completions": f"{data}/completions",
    }


def change_config(project: Path, **changes: Any) -> None:
    path = project / "config" / "config.yaml"
    write_config(path, yaml.safe_load(path.read_text()) | changes)


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def touch_all(folder: Path) -> int:
    later = time.time() + 100
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (later, later))
    return len(files)


def stages(jobs: dict[str, str]) -> list[str]:
    return sorted({message.split(":")[0] for message in jobs})


DOWNSTREAM_OF_TRAIN = [
    *("compare", "evaluate", "metrics", "report", "represent", "track", "train"),
]
REPORT, TRACK = "report: tables and figures of the run", "track: final metrics of the run"


# --- Caching. What a changed setting concerns is in tests/lineage/test_rules.py. ---------------


def test_touched_files_comments_and_cores_rerun_nothing(project: Path) -> None:
    for path in (project / "gcrm").rglob("*.py"):
        path.write_text(path.read_text() + "\n\n# one comment more\n\n'''and a note'''\n")
    replace_in(project / "gcrm" / "train.py", '"""', '"""Differently said: ')
    assert touch_all(project / "results") > 50
    touch_all(project / "gcrm")
    touch_all(project / "workflow")
    assert would_run(project, "--cores", "7") == {}


def test_editing_the_report_reruns_the_report_alone_and_says_why(project: Path) -> None:
    with (project / "gcrm" / "report.py").open("a") as file:
        file.write("\nMORE = 1\n")
    ((told, reason),) = would_run(project).items()
    assert told == REPORT
    assert "gcrm.report and" in reason
    assert "modules it imports, version" in reason


def test_another_published_number_reruns_the_report_alone(project: Path) -> None:
    with (project / "workflow/published.jsonl").open("a") as file:
        file.write("\n{}\n")
    assert list(would_run(project)) == [REPORT]


def test_editing_the_loss_retrains_both_and_nothing_before(project: Path) -> None:
    with (project / "gcrm" / "training" / "objective.py").open("a") as file:
        file.write("\nMORE = 1\n")
    jobs = would_run(project)
    assert stages(jobs) == DOWNSTREAM_OF_TRAIN
    assert "train: vanilla, seed 0" in jobs
    assert "train: contrastive, seed 0" in jobs


def test_changed_solutions_of_a_benchmark_rerun_its_evaluation_only(project: Path) -> None:
    with (project / "results/small/completions/svamp/output-greedy.jsonl").open("a") as file:
        file.write("changed\n")
    assert set(would_run(project)) == {
        "evaluate: vanilla, seed 0, svamp (greedy)",
        "evaluate: contrastive, seed 0, svamp (greedy)",
        "metrics: vanilla, seed 0, svamp",
        "metrics: contrastive, seed 0, svamp",
        "compare: variants on svamp",
        "report: tables and figures of the run",
        "track: final metrics of the run",
    }


def test_changed_own_samples_rerun_their_split_only(own_project: Path) -> None:
    (samples,) = own_project.glob("my*/completions/gsm8k/output-rs0.jsonl")
    samples.write_text(samples.read_text() * 2)
    touch_all(samples.parents[2])
    assert set(would_run(own_project, "--configfile", "own.yaml")) == {
        "prepare: check the data that the run brings",
        "evaluate: vanilla, seed 0, gsm8k (all)",
        "evaluate: contrastive, seed 0, gsm8k (all)",
        "metrics: vanilla, seed 0, gsm8k",
        "metrics: contrastive, seed 0, gsm8k",
        "compare: variants on gsm8k",
        "report: tables and figures of the run",
        "track: final metrics of the run",
    }


def test_a_shared_beta_retrains_the_contrastive_variant_only_and_says_why(project: Path) -> None:
    variants = {"vanilla": {}, "contrastive": {"reward_model_strategy": "contrastive"}}
    change_config(project, variants=variants, train=SMALL["train"] | {"contrastive_loss_beta": 0.7})
    jobs = would_run(project)
    assert stages(jobs) == DOWNSTREAM_OF_TRAIN
    assert not any("vanilla" in message for message in jobs)
    reason = jobs["train: contrastive, seed 0"]
    assert "before: 'train.contrastive_loss_beta: 0.5'" in reason
    assert "now: 'train.contrastive_loss_beta: 0.7'" in reason
    assert "learning_rate" not in reason


def test_a_deleted_metrics_file_is_rebuilt_alone(project: Path) -> None:
    wanted = "results/small/metrics/vanilla/seed0/gsm8k.json"
    (project / wanted).unlink()
    assert list(would_run(project, wanted)) == ["metrics: vanilla, seed 0, gsm8k"]


def test_a_new_variant_and_a_new_seed_run_only_what_is_new(project: Path) -> None:
    new = {"reward_model_strategy": "contrastive", "contrastive_loss_beta": 0.1}
    change_config(project, variants=SMALL["variants"] | {"weak": new}, seeds=[0, 1])
    jobs = would_run(project)
    assert stages(jobs) == DOWNSTREAM_OF_TRAIN
    assert "results/small/metrics/weak/seed0/gsm8k.json" in jobs.pop(REPORT)
    jobs.pop(TRACK)
    of_models = [message for message in jobs if not message.startswith("compare: ")]
    assert all("weak" in message or "seed 1" in message for message in of_models)
    assert {"train: vanilla, seed 1", "train: weak, seed 0"} < set(of_models)


# --- What runs -------------------------------------------------------------------------------


def test_one_result_needs_only_what_it_is_made_of_and_torch_is_not_imported(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    for name in ("torch", "transformers"):
        (project / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    wanted = "results/small/metrics/contrastive/seed0/svamp.json"
    jobs = would_run(project, wanted, PYTHONPATH=str(project))
    assert stages(jobs) == [
        *("evaluate", "metrics", "pair", "prepare", "pretrain", "represent", "sample", "train"),
    ]
    assert not any("vanilla" in message or "gsm8k (" in message for message in jobs)


def test_goal_states_and_filters_are_targets_where_they_are_asked_for(tmp_path: Path) -> None:
    project = copy_project(tmp_path, SMALL | {"goals": {}, "generate": {}})
    jobs = would_run(project, "results/small/goals/contrastive/seed0.jsonl")
    assert stages(jobs) == ["goals", "pair", "prepare", "pretrain", "sample", "train"]
    assert not any("vanilla" in message or "svamp" in message for message in jobs)
    jobs = would_run(project, "results/small/generate/contrastive/seed0/gsm8k/estimates.json")
    wanted = ["generate", "pair", "prepare", "pretrain", "represent", "sample", "train"]
    assert stages(jobs) == wanted


def test_a_run_that_brings_everything_makes_nothing(own_project: Path) -> None:
    """Nor does it take a key of the default config, or heed what is wrong there."""
    shutil.rmtree(own_project / "results")
    default = own_project / "config" / "config.yaml"
    default.write_text("run: default\nunheard_of: 1\nvariants: {other: {}}\n")
    jobs = would_run(own_project, "--configfile", "own.yaml")
    assert stages(jobs) == [
        *("compare", "evaluate", "metrics", "prepare", "report", "represent", "track", "train"),
    ]
    assert "evaluate: vanilla, seed 0, gsm8k (all)" in jobs
    assert "evaluate: vanilla, seed 0, svamp (all)" not in jobs


def test_a_goal_state_of_an_attribute_is_a_target(own_project: Path) -> None:
    pair = {"question": "2 + 3 ?", "correct": "5", "incorrect": "6", "helpfulness": 1, "tone": 2}
    next(own_project.glob("my*/pairs.jsonl")).write_text(json.dumps(pair) + "\n")
    config = yaml.safe_load((own_project / "own.yaml").read_text())
    config["represent"] = {"attributes": ["helpfulness", "tone"]}
    write_config(own_project / "own.yaml", config)
    one = "results/own/goal_states/vanilla/seed0/goal_state-helpfulness.npy"
    assert stages(would_run(own_project, one, "--configfile", "own.yaml")) == ["represent", "train"]


def test_a_new_held_out_set_runs_its_own_jobs(own_project: Path) -> None:
    config = yaml.safe_load((own_project / "own.yaml").read_text())
    heldout = own_project / config["preferences"].replace("pairs", "heldout")
    heldout.write_text((own_project / config["preferences"]).read_text())
    config["heldout"] = {"hh": str(heldout.relative_to(own_project))}
    write_config(own_project / "own.yaml", config)
    assert set(would_run(own_project, "--configfile", "own.yaml")) == {
        "prepare: check the data that the run brings",
        "evaluate: vanilla, seed 0, hh (pairs)",
        "evaluate: contrastive, seed 0, hh (pairs)",
        "metrics: vanilla, seed 0, hh",
        "metrics: contrastive, seed 0, hh",
        "compare: variants on hh",
        REPORT,
        TRACK,
    }


def test_paths_that_a_shell_could_obey_reach_the_stage_as_they_are(own_project: Path) -> None:
    """Blanks, quotes, dollars, backquotes, semicolons, line ends: the job really runs."""
    save_base_model(own_project / NASTY / "base")  # prepare reads its tokenizer
    (own_project / "results/own/data/report.json").unlink()
    words = ["results/own/data/report.json", "--cores", "1", "--configfile", "own.yaml"]
    done = snakemake(own_project, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads((own_project / "results/own/data/report.json").read_text())
    assert list(found["training"]) == [f"{NASTY}/pairs.jsonl"]
    assert not list(own_project.rglob("pwned"))


def test_a_failed_job_is_one_line_and_leaves_all_other_results(own_project: Path) -> None:
    """Its scores are no Parquet file; nothing else is touched, and status 1 says that it failed."""
    failing = own_project / "results/own/metrics/vanilla/seed0/gsm8k.json"
    failing.unlink()
    before = {
        path: path.read_bytes()
        for path in own_project.rglob("results/own/*/*/**/*")
        if path.is_file()
    }
    assert len(before) > 20
    wanted = str(failing.relative_to(own_project))
    done = snakemake(own_project, wanted, "--cores", "1", "--configfile", "own.yaml")
    screen = done.stdout + done.stderr
    assert done.returncode == 1
    scores = "results/own/scores/vanilla/seed0/gsm8k/greedy/scores.parquet"
    assert f"metrics: error: {scores}: not a readable Parquet file" in screen
    assert "Traceback" not in screen
    assert not failing.exists()
    own = {  # of the number that was to be made anew
        Path(f"{failing}.provenance.json"),
        own_project / "results/own/logs/metrics/vanilla-seed0-gsm8k.log",
    }
    touched = {p for p, text in before.items() if not p.exists() or p.read_bytes() != text}
    assert touched <= own


def test_the_papers_run_is_planned_without_network_and_data(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    shutil.copy(ROOT / "config" / "paper" / "paper.yaml", project)
    shutil.copytree(ROOT / "config" / "paper", project / "config" / "paper")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    planned = would_run(project, "--configfile", "paper.yaml")
    # Of the CPU: other tests may keep the machine busy.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20
    assert "prepare: fetch and check the data that the run brings" in planned
    for stage, number in (("train", 2), ("evaluate", 18), ("goals", 2)):
        assert sum(message.startswith(f"{stage}: ") for message in planned) == number
    assert {path.name for path in project.iterdir()} <= {
        *("gcrm", "workflow", "config", "paper.yaml", ".snakemake", ".cache"),
    }


MODULE = """
configfile: "config.yaml"
module gcrm:
    snakefile: {snakefile!r}
    config: config["gcrm"]
use rule * from gcrm as gcrm_*
rule mine:
    default_target: True
    input: rules.gcrm_all.input
    output: touch("results/other/done")
"""


def test_another_workflow_uses_this_one_as_a_module(tmp_path: Path) -> None:
    """With the config of .test, from another folder, and with targets of its own."""
    content = yaml.safe_load((ROOT / ".test/config/config.yaml").read_text())
    write_config(tmp_path / "config.yaml", {"gcrm": content, "mine": 1})
    snakefile = str(ROOT / "workflow" / "Snakefile")
    (tmp_path / "Snakefile").write_text(MODULE.format(snakefile=snakefile))
    asked = snakemake(tmp_path, "--dry-run", "-p", "results/other/done")
    assert asked.returncode == 0, asked.stderr
    said = asked.stdout + asked.stderr
    assert len(re.findall(r"^Job \d+: evaluate: ", said, re.MULTILINE)) == 6
    (published,) = re.findall(r" --published (\S+)", said)
    assert (tmp_path / published).resolve() == ROOT / "workflow/published.jsonl"


# --- Mistakes are reported before any job starts; messages are in tests/config ------------------


def refusal(project: Path, *args: str, **environment: str) -> str:
    asked = snakemake(project, "--dry-run", *args, **environment)
    assert asked.returncode == 1
    assert "Traceback" not in asked.stderr
    assert "Building DAG" not in asked.stdout + asked.stderr
    lines = [line for line in asked.stderr.splitlines() if not line.startswith("Using workflow")]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    """In the default config, in a target, in a given config, in data."""
    project = copy_project(tmp_path)
    write_own_data(project / "data")
    own = own_config("data") | {"base_model": "${MY_MODEL}/base"}
    write_config(project / "own.yaml", own)
    own_yaml = ("--configfile", "own.yaml")
    message = refusal(project, "--config", "benchmark=[gsm8k]")
    assert message.startswith("config/config.yaml: benchmark: unknown key")
    target = "results/small/metrics/nope/seed0/gsm8k.json"
    assert refusal(project, target).startswith(f"{target}: no variant 'nope'; the config has van")
    message = refusal(project, *own_yaml)
    assert message.startswith("own.yaml: base_model: the environment variable MY_MODEL is not set")
    with (project / "data" / "pairs.jsonl").open("a") as file:
        file.write('{"question": "q", "correct": "c"}\n')
    message = refusal(project, *own_yaml, "--config", "base_model=data/base")
    assert "data/pairs.jsonl, row 2: incorrect is missing" in message
    (project / "own.yaml").write_text((project / "own.yaml").read_text() + "run: again\n")
    assert "own.yaml: run: is given twice, in lines 1 and " in refusal(project, *own_yaml)


# --- What is committed -----------------------------------------------------------------------


def test_the_default_config_is_the_tiny_run_with_both_variants() -> None:
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert config["run"] == "tiny"
    assert list(config["variants"]) == ["vanilla", "contrastive"]
    paper = ["gsm8k", "math", "gsm-hard", "mawps", "asdiv", "algebra222", "svamp"]
    assert config["benchmarks"] == paper
    assert config["report"]["synthetic"] is True


def test_schema_and_tables_of_settings_are_the_models() -> None:
    renew = "renew it: python -m gcrm.config.reference"
    assert reference.SCHEMA.read_text() == reference.schema(), renew
    assert reference.README.read_text() == reference.with_tables(reference.README.read_text()), (
        renew
    )


@pytest.mark.parametrize("name", ["default", "slurm"])
def test_every_profile_compares_files_of_any_size(name: str) -> None:
    profile = yaml.safe_load((ROOT / f"workflow/profiles/{name}/profile.yaml").read_text())
    assert profile["max-checksum-file-size"] == "1TB"
    assert profile["rerun-incomplete"] is True
