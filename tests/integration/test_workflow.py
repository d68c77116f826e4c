import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcrm.config.loading import load
from gcrm.config.run import Config
from gcrm.utils.errors import UserError
from gcrm.utils.logging import printable_lines
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


# --- caching ---------------------------------------------------------------------------------


def test_a_second_run_does_nothing(project: Path) -> None:
    assert would_run(project) == {}


def test_touching_files_of_any_size_does_nothing(project: Path) -> None:
    assert touch_all(project / "results") > 50
    touch_all(project / "gcrm")
    touch_all(project / "workflow")
    assert would_run(project) == {}


def test_editing_comments_and_docstrings_does_nothing(project: Path) -> None:
    for path in (project / "gcrm").rglob("*.py"):
        path.write_text(path.read_text() + "\n\n# one comment more\n\n'''and a note'''\n")
    replace_in(project / "gcrm" / "training.py", '"""', '"""Differently said: ')
    assert would_run(project) == {}


def test_editing_the_report_reruns_the_report_alone_and_says_why(project: Path) -> None:
    with (project / "gcrm" / "report.py").open("a") as file:
        file.write("\nMORE = 1\n")
    jobs = would_run(project)
    assert list(jobs) == ["report: tables and figures of the run"]
    (reason,) = jobs.values()
    assert "gcrm.report and" in reason
    assert "modules it imports, version" in reason


@pytest.mark.parametrize("module", ["figures/rewards.py", "report_tables.py", "published.py"])
def test_editing_a_figure_or_table_reruns_the_report_alone(project: Path, module: str) -> None:
    with (project / "gcrm" / module).open("a") as file:
        file.write("\nMORE = 1\n")
    assert list(would_run(project)) == ["report: tables and figures of the run"]


def test_another_published_number_reruns_the_report_alone(project: Path) -> None:
    with (project / "workflow/published.jsonl").open("a") as file:
        file.write("\n{}\n")
    assert list(would_run(project)) == ["report: tables and figures of the run"]


def test_editing_the_loss_retrains_both_and_nothing_before(project: Path) -> None:
    with (project / "gcrm" / "objective.py").open("a") as file:
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


def test_touched_own_data_rerun_nothing(own_project: Path) -> None:
    (data,) = own_project.glob("my*")
    touch_all(data)
    assert would_run(own_project, "--configfile", "own.yaml") == {}


def test_changed_beta_retrains_the_contrastive_variant_only_and_says_why(project: Path) -> None:
    variants = {
        "vanilla": {},
        "contrastive": {"reward_model_strategy": "contrastive", "contrastive_loss_beta": 0.7},
    }
    change_config(project, variants=variants)
    jobs = would_run(project)
    assert stages(jobs) == DOWNSTREAM_OF_TRAIN
    assert not any("vanilla" in message for message in jobs)
    reason = jobs["train: contrastive, seed 0"]
    assert "before: 'train.contrastive_loss_beta: 0.5'" in reason
    assert "now: 'train.contrastive_loss_beta: 0.7'" in reason
    assert "learning_rate" not in reason


def test_a_shared_beta_does_not_concern_the_vanilla_variant(project: Path) -> None:
    variants = {"vanilla": {}, "contrastive": {"reward_model_strategy": "contrastive"}}
    change_config(project, variants=variants, train=SMALL["train"] | {"contrastive_loss_beta": 0.7})
    jobs = would_run(project)
    assert "train: contrastive, seed 0" in jobs
    assert not any("vanilla" in message for message in jobs)


def test_attributes_are_further_goal_states_of_which_one_is_evaluated(own_project: Path) -> None:
    pair = {"question": "2 + 3 ?", "correct": "5", "incorrect": "6", "helpfulness": 1, "tone": 2}
    (own_project / next(own_project.glob("my*")) / "pairs.jsonl").write_text(
        json.dumps(pair) + "\n"
    )
    config = yaml.safe_load((own_project / "own.yaml").read_text())
    config["represent"] = {"attributes": ["helpfulness", "tone"]}
    config["evaluate"] = {"goal_attribute": "tone"}
    write_config(own_project / "own.yaml", config)
    asked = snakemake(own_project, "-np", "--forceall", "--configfile", "own.yaml")
    shown = asked.stdout + asked.stderr
    assert "--goal_state_path results/own/goal_states/vanilla/seed0/goal_state-tone.npy" in shown
    assert "--goal_attribute" not in shown
    one = "results/own/goal_states/vanilla/seed0/goal_state-helpfulness.npy"
    assert stages(would_run(own_project, one, "--configfile", "own.yaml")) == ["represent", "train"]


def test_the_ablations_can_run(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    shutil.copy(ROOT / "config" / "ablations.yaml", project)
    jobs = would_run(project, "--configfile", "ablations.yaml")
    trained = [message for message in jobs if message.startswith("train: ")]
    assert len(trained) == len(yaml.safe_load((project / "ablations.yaml").read_text())["variants"])


def test_a_deleted_metrics_file_is_rebuilt_alone(project: Path) -> None:
    wanted = "results/small/metrics/vanilla/seed0/gsm8k.json"
    (project / wanted).unlink()
    assert list(would_run(project, wanted)) == ["metrics: vanilla, seed 0, gsm8k"]


def test_a_new_variant_runs_only_what_is_new(project: Path) -> None:
    new = {"reward_model_strategy": "contrastive", "contrastive_loss_beta": 0.1}
    change_config(project, variants=SMALL["variants"] | {"weak": new})
    jobs = would_run(project)
    assert stages(jobs) == DOWNSTREAM_OF_TRAIN
    report = jobs.pop("report: tables and figures of the run")
    jobs.pop("track: final metrics of the run")
    assert all("weak" in message for message in jobs if not message.startswith("compare: "))
    assert "results/small/metrics/weak/seed0/gsm8k.json" in report


def test_a_new_seed_runs_only_what_is_new(project: Path) -> None:
    change_config(project, seeds=[0, 1])
    jobs = would_run(project)
    assert stages(jobs) == DOWNSTREAM_OF_TRAIN
    jobs.pop("report: tables and figures of the run")
    jobs.pop("track: final metrics of the run")
    assert all("seed 1" in message for message in jobs if not message.startswith("compare: "))
    assert "train: vanilla, seed 1" in jobs


def test_cores_do_not_change_results(project: Path) -> None:
    assert would_run(project, "--cores", "1") == {}
    assert would_run(project, "--cores", "7") == {}


def test_other_threads_are_another_result(project: Path) -> None:
    change_config(project, threads={"pretrain": 1, "evaluate": 2})
    assert stages(would_run(project)) == ["compare", "evaluate", "metrics", "report", "track"]


def test_another_baseline_compares_anew_and_nothing_else(project: Path) -> None:
    change_config(project, compare={"baseline": "contrastive"})
    jobs = would_run(project)
    assert stages(jobs) == ["compare", "report", "track"]
    assert "compare.baseline: contrastive" in jobs["compare: variants on gsm8k"]


def test_another_threshold_concerns_metrics_and_comparisons(project: Path) -> None:
    change_config(project, metrics={"bootstrap_resamples": 50, "filter_threshold": 0.2})
    assert stages(would_run(project)) == ["compare", "metrics", "report", "track"]
    change_config(project, metrics={"bootstrap_resamples": 50, "correlation_percentiles": [0.5]})
    assert stages(would_run(project)) == ["metrics", "report", "track"]


# --- what runs -------------------------------------------------------------------------------


def test_another_report_to_wandb_trains_nothing(project: Path) -> None:
    change_config(project, track={"wandb_project": "p", "wandb_tags": ["new"]})
    assert stages(would_run(project)) == ["track"]


def test_one_result_needs_only_what_it_is_made_of(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    jobs = would_run(project, "results/small/metrics/contrastive/seed0/svamp.json")
    assert stages(jobs) == [
        *("evaluate", "metrics", "pair", "prepare", "pretrain", "represent", "sample", "train"),
    ]
    assert not any("vanilla" in message or "gsm8k (" in message for message in jobs)


def test_a_run_that_brings_everything_makes_nothing(own_project: Path) -> None:
    shutil.rmtree(own_project / "results")
    jobs = would_run(own_project, "--configfile", "own.yaml")
    assert stages(jobs) == [
        *("compare", "evaluate", "metrics", "prepare", "report", "represent", "track", "train"),
    ]
    assert "evaluate: vanilla, seed 0, gsm8k (all)" in jobs
    assert "evaluate: vanilla, seed 0, svamp (all)" not in jobs


def test_one_variant_alone_is_compared_with_nothing(tmp_path: Path) -> None:
    project = copy_project(tmp_path, SMALL | {"variants": {"vanilla": {}}})
    assert "compare" not in stages(would_run(project))
    change_config(project, seeds=[0, 1])  # its intervals take the seeds in
    assert "compare" in stages(would_run(project))


def test_no_key_of_the_default_config_reaches_another_run(own_project: Path) -> None:
    default = own_project / "config" / "config.yaml"
    default.write_text("run: default\nunheard_of: 1\nvariants: {other: {}}\n")
    jobs = would_run(own_project, "--configfile", "own.yaml")
    assert jobs == {}
    assert "unheard_of" in snakemake(own_project, "--dry-run").stderr


def test_held_out_sets_run_for_what_concerns_them(own_project: Path) -> None:
    compare = "compare: variants on hh (pairs)"
    hh_jobs = {compare} | {
        f"{stage}: {variant}, seed 0, hh (pairs)"
        for stage in ("evaluate", "metrics")
        for variant in ("vanilla", "contrastive")
    }
    checked = {"prepare: check the data that the run brings"}
    config = yaml.safe_load((own_project / "own.yaml").read_text())
    heldout = own_project / config["preferences"].replace("pairs", "heldout")
    heldout.write_text((own_project / config["preferences"]).read_text())
    config |= {"heldout": {"hh": str(heldout.relative_to(own_project))}}

    def jobs(**changes: Any) -> set[str]:
        write_config(own_project / "own.yaml", config | changes)
        found = set(would_run(own_project, "--configfile", "own.yaml"))
        return found - {"report: tables and figures of the run", "track: final metrics of the run"}

    assert jobs() == hh_jobs | checked  # a new set
    pretend_it_ran(own_project, "--configfile", "own.yaml")
    assert jobs(evaluate={"max_pairs": 1}) == hh_jobs
    of_solutions = {"metrics": config["metrics"] | {"filter_threshold": 0.5}}
    found = jobs(evaluate={"max_problems": 1}, **of_solutions)
    assert found and not found & hh_jobs
    heldout.write_text(heldout.read_text().replace('"6"', '"7"'))
    assert jobs() == hh_jobs | checked


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


@pytest.mark.parametrize(
    ("limit", "free"), [([], sys.maxsize), (["--max-jobs-per-timespan", "5/1s"], 5)]
)
def test_jobs_a_second_are_counted_only_for_a_user(
    fresh: Path, limit: list[str], free: int
) -> None:
    """By itself, Snakemake wakes up for the count each second, once for every job so far."""
    target = "results/small/data/report.json"
    done = snakemake(fresh, target, "--cores", "1", "--forcerun", "prepare", "--verbose", *limit)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"Resources after job selection: .*'_job_count': (\d+)", done.stderr)
    assert {int(count) for count in told} == {free}


def test_the_default_config_is_the_tiny_run_with_both_variants() -> None:
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    assert config["run"] == "tiny"
    assert list(config["variants"]) == ["vanilla", "contrastive"]
    paper = ["gsm8k", "math", "gsm-hard", "mawps", "asdiv", "algebra222", "svamp"]
    assert config["benchmarks"] == paper
    assert config["report"]["synthetic"] is True


def test_no_torch_is_imported_to_ask(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    for name in ("torch", "transformers"):
        (project / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    assert would_run(project, PYTHONPATH=str(project))


@pytest.mark.parametrize(
    ("name", "jobs"), [("paper", {"train": 2, "evaluate": 18}), ("paper-hh", {"evaluate": 2})]
)
def test_the_papers_runs_are_planned_without_network_and_data(
    tmp_path: Path, name: str, jobs: dict[str, int]
) -> None:
    project = copy_project(tmp_path)
    shutil.copy(ROOT / "config" / f"{name}.yaml", project)
    started = time.monotonic()
    planned = would_run(project, "--configfile", f"{name}.yaml")
    assert time.monotonic() - started < 20
    assert "prepare: fetch and check the data that the run brings" in planned
    for stage, number in jobs.items():
        assert sum(message.startswith(f"{stage}: ") for message in planned) == number
    assert {path.name for path in project.iterdir()} <= {
        *("gcrm", "workflow", "config", f"{name}.yaml", ".snakemake", ".cache"),
    }


# --- mistakes are told before any job starts --------------------------------------------------


def refusal(project: Path, *args: str, **environment: str) -> str:
    asked = snakemake(project, "--dry-run", *args, **environment)
    assert asked.returncode == 1
    assert "Traceback" not in asked.stderr
    assert "Building DAG" not in asked.stdout + asked.stderr
    lines = [line for line in asked.stderr.splitlines() if not line.startswith("Using workflow")]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("fresh"))
    write_own_data(project / "data")
    write_config(project / "own.yaml", own_config("data"))
    return project


def test_an_unknown_key_is_one_line(fresh: Path) -> None:
    message = refusal(fresh, "--config", "benchmark=[gsm8k]")
    assert message.startswith("config/config.yaml: benchmark: unknown key")
    assert "did you mean 'benchmarks'?" in message


def test_a_wrong_type_is_one_line(fresh: Path) -> None:
    message = refusal(fresh, "--config", "train={learning_rate: fast}")
    assert message.startswith(
        "config/config.yaml: train.learning_rate: Input should be a valid num"
    )


def test_a_key_that_is_there_twice_is_one_line(fresh: Path) -> None:
    config = (fresh / "own.yaml").read_text()
    (fresh / "twice.yaml").write_text(config + "represent: {max_len: 5, max_len: 6}\n")
    message = refusal(fresh, "--configfile", "twice.yaml")
    line = len(config.splitlines()) + 1
    assert message == (
        f"twice.yaml: represent.max_len: is there twice, in lines {line} and {line}; keep one"
    )


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("metrics/nope/seed0/gsm8k.json", "no variant 'nope'; the config has vanilla, contrastive"),
        ("models/vanilla/seed3/config.json", "no seed 'seed3'; the config has seed0"),
        ("metrics/vanilla/seed0/math.json", "no benchmark 'math'; the config has gsm8k, svamp"),
        ("comparisons/math.json", "no benchmark 'math'; the config has gsm8k, svamp"),
        ("scores/vanilla/seed0/svamp/all/scores.parquet", "its only split is greedy"),
    ],
)
def test_a_target_that_the_config_does_not_know_is_one_line(
    fresh: Path, target: str, problem: str
) -> None:
    message = refusal(fresh, f"results/small/{target}")
    assert message.startswith(f"results/small/{target}: ")
    assert problem in message


@pytest.mark.parametrize(
    "change",
    [
        {"run": "../x"},
        {"run": "a; touch pwned"},
        {"run": "a\nb"},
        {"run": "x" * 101},
        {"benchmarks": ["gsm8k", ".."]},
        {"benchmarks": ["$(touch pwned)"]},
        {"variants": {"a/b": {}}},
        {"variants": {"'; touch pwned; '": {}}},
    ],
)
def test_names_that_could_leave_their_folder_are_refused(change: dict[str, Any]) -> None:
    """Names of runs, variants and benchmarks are parts of paths."""
    with pytest.raises(
        UserError, match=r"^my.yaml: .*: String should (match|have at most)"
    ) as told:
        load(SMALL | change, "my.yaml")
    assert len(printable_lines(str(told.value)).splitlines()) == 1


def test_another_runs_target_is_one_line(fresh: Path) -> None:
    assert "is of the run 'small', not 'tiny'" in refusal(fresh, "results/tiny/report/report.md")


def test_an_unset_variable_is_one_line_and_config_takes_its_place(fresh: Path) -> None:
    write_config(fresh / "env.yaml", own_config("data") | {"base_model": "${MY_MODEL}/base"})
    message = refusal(fresh, "--configfile", "env.yaml")
    assert message.startswith("env.yaml: base_model: the environment variable MY_MODEL is not set")
    assert "--config base_model=" in message
    assert would_run(fresh, "--configfile", "env.yaml", MY_MODEL="data")
    assert would_run(fresh, "--configfile", "env.yaml", "--config", "base_model=data/base")


def test_a_missing_file_is_one_line(fresh: Path) -> None:
    args = ("--configfile", "own.yaml", "--config", "preferences=data/nothing.jsonl")
    assert (
        refusal(fresh, *args) == "own.yaml: preferences: data/nothing.jsonl: no such file or folder"
    )


def test_a_path_with_braces_is_one_line(fresh: Path) -> None:
    args = ("--configfile", "own.yaml", "--config", "completions=a{data}")
    assert "completions: a{data}: has a brace" in refusal(fresh, *args)


def test_a_benchmark_without_completions_is_one_line(fresh: Path) -> None:
    message = refusal(fresh, "--configfile", "own.yaml", "--config", "benchmarks=[gsm8k,math]")
    assert "data/completions/math/output-greedy.jsonl: no such file" in message
    assert "gsm8k, svamp" in message


def test_a_broken_preference_row_is_one_line(fresh: Path) -> None:
    good = (fresh / "data" / "pairs.jsonl").read_text()
    (fresh / "broken.jsonl").write_text(good + '{"question": "q", "correct": "c"}\n')
    args = ("--configfile", "own.yaml", "--config", "preferences=broken.jsonl")
    assert "broken.jsonl, row 2: incorrect is missing" in refusal(fresh, *args)


# --- what is committed -----------------------------------------------------------------------


def test_the_schema_is_the_models() -> None:
    committed = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    assert committed == Config.model_json_schema(), (
        "renew it: python -m gcrm.config.run > workflow/schemas/config.schema.json"
    )


def test_the_conda_environment_of_jobs_has_the_locked_versions() -> None:
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    environment = yaml.safe_load((ROOT / "workflow/envs/gcrm.yaml").read_text())
    assert set(environment["dependencies"][-1]["pip"]) <= set(lock)


@pytest.mark.parametrize("name", ["default", "slurm"])
def test_every_profile_compares_files_of_any_size(name: str) -> None:
    profile = yaml.safe_load((ROOT / f"workflow/profiles/{name}/profile.yaml").read_text())
    assert profile["max-checksum-file-size"] == "1TB"
    assert profile["rerun-incomplete"] is True
