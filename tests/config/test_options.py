"""What a config gives the stages: `options()` is all that rules and `trace` know of it."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from gcrm.cli import parse
from gcrm.config.base import flags
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.loading import load
from gcrm.config.options import check_target, options, options_model
from gcrm.config.prepare import PrepareOptions
from gcrm.config.train import TrainOptions
from gcrm.utils.errors import UserError
from helpers.jobs import jobs_of
from helpers.workflow_runs import ROOT, SMALL

MODEL = {"variant": "contrastive", "seed": "0"}
CONFIGS = sorted(path for path in (ROOT / "config").rglob("*.yaml") if path.stem != "study")
ENVIRONMENT = {"GCRM_BASE_MODEL": "model.gguf", "GCRM_DATA": "data"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_flags_of_every_job_give_the_stage_the_same_options(path: Path) -> None:
    shared = path.with_name("study.yaml")  # which the cells of the study are laid over
    given = yaml.safe_load(shared.read_text()) if shared.exists() else {}
    update_config(given, yaml.safe_load(path.read_text()))
    config = load(given, path.name, ENVIRONMENT)
    seen = set()
    for stage, wildcards in jobs_of(config):
        made = options(config, stage, wildcards)
        again, _ = parse(options_model(stage), stage, shlex.split(flags(made)))
        assert again == made
        seen.add(stage)
    assert {"train", "represent", "evaluate", "metrics", "compare", "report", "track"} <= seen


def test_a_model_is_trained_with_its_variants_settings_into_its_own_folder() -> None:
    config = load(SMALL | {"seeds": [0, 3]}, "my.yaml")
    found = options(config, "train", MODEL | {"seed": "3"})
    assert isinstance(found, TrainOptions)
    assert found.contrastive_loss_beta == 0.5 and found.learning_rate == 0.001
    assert found.seed == 3
    assert str(found.save_path) == "results/small/models/contrastive/seed3"
    assert found.pretrain == "results/small/base_model"
    assert found.dataset == ["results/small/preferences/pairs.jsonl"]


def test_a_job_scores_one_split_of_a_benchmark_or_the_pairs_of_a_set() -> None:
    given_ = SMALL | {"heldout": {"hh": "a/b"}, "evaluate": {"max_pairs": 5, "max_problems": 7}}
    config = load(given_, "my.yaml")
    solutions = options(config, "evaluate", MODEL | {"benchmark": "gsm8k", "split": "all"})
    assert isinstance(solutions, EvaluateOptions)
    assert (solutions.benchmarks, solutions.splits) == (["gsm8k"], ["all"])
    assert (solutions.max_problems, solutions.max_pairs) == (7, None)
    pairs = options(config, "evaluate", MODEL | {"benchmark": "hh", "split": "pairs"})
    assert isinstance(pairs, EvaluateOptions)
    assert (pairs.dataset, pairs.max_pairs, pairs.max_problems) == (["a/b"], 5, None)


def test_a_goal_state_of_an_attribute_is_named_as_a_file() -> None:
    own = {
        "run": "own",
        "base_model": "owner/model",
        "preferences": "owner/pairs",
        "heldout": {"hh": "owner/held"},
        "variants": {"contrastive": {}},
        "represent": {"attributes": ["tone"]},
        "evaluate": {"goal_attribute": "tone"},
    }
    scored = MODEL | {"benchmark": "hh", "split": "pairs"}
    found = options(load(own, "my.yaml"), "evaluate", scored)
    assert isinstance(found, EvaluateOptions)
    goal_state = "results/own/goal_states/contrastive/seed0/goal_state-tone.npy"
    assert (str(found.goal_state_path), found.goal_attribute) == (goal_state, None)


def test_data_are_checked_as_evaluate_will_read_them() -> None:
    own = {
        "run": "own",
        "benchmarks": ["gsm8k"],
        "base_model": "owner/model",
        "preferences": "owner/pairs",
        "completions": "folder",
        "variants": {"vanilla": {}},
        "evaluate": {"max_len": 99},
    }
    found = options(load(own, "my.yaml"), "prepare", {})
    assert isinstance(found, PrepareOptions)
    assert (found.base_model, found.max_len) == ("owner/model", 99)
    official = own | {"variants": {"vanilla": {"parity": "official"}}}
    found = options(load(official, "my.yaml"), "prepare", {})
    assert isinstance(found, PrepareOptions)
    assert found.base_model is None


def test_the_chat_template_is_for_all_that_read_the_base_models_tokenizer() -> None:
    own = {"run": "own", "benchmarks": ["gsm8k"], "preferences": "a/b", "completions": "folder"}
    own |= {"base_model": "owner/model", "variants": {"v": {}}, "chat_template": "mine.jinja"}
    config = load(own, "my.yaml")
    for stage, wildcards in (("prepare", {}), ("train", {"variant": "v", "seed": "0"})):
        given = options(config, stage, wildcards).model_dump()
        assert given["chat_template"] == Path("mine.jinja")
    assert Path("mine.jinja") in config.base_model_files()
    assert Path("mine.jinja") in config.checked_files()


WITH_PAIRS: dict[str, Any] = SMALL | {"heldout": {"hh": "a/b"}}


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("metrics/nope/seed0/gsm8k.json", "no variant 'nope'; the config has vanilla, contrastive"),
        ("models/vanilla/seed3/config.json", "no seed '3'; the config has 0"),
        ("metrics/vanilla/seed0/math.json", "no benchmark 'math'; the config has gsm8k, svamp"),
        ("metrics/vanilla/seed0/math.json.provenance.json", "no benchmark 'math'; the config has"),
        ("comparisons/math.json", "no benchmark 'math'; the config has gsm8k, svamp"),
        ("goals/vanilla/seed3.jsonl", "no seed '3'; the config has 0"),
        ("goals/vanilla/seed0.jsonl", "the config does not ask for goal states of few examples"),
        ("generate/vanilla/seed0/gsm8k/estimates.json", "add a section generate: {} to it"),
        ("scores/vanilla/seed0/svamp/all/scores.parquet", "no split 'all'; it has greedy"),
        ("scores/vanilla/seed0/hh/greedy/scores.parquet", "'hh' has no split 'greedy'; it has pai"),
        ("scores/vanilla/seed0/svamp/pairs/output.jsonl", "'svamp' has no split 'pairs'"),
        ("completions/gsm9k/output-greedy.jsonl", "no problem_set 'gsm9k'; the config has pretr"),
        ("../tiny/report/report.md", "the config is of the run 'small', not 'tiny'; give --conf"),
        ("metrics/vanilla/seed0/hh.json", None),
        ("scores/vanilla/seed0/hh/pairs/scores.parquet", None),
        ("scores/vanilla/seed0/gsm8k/all/output.jsonl", None),
        ("comparisons/hh.json", None),
        ("report/report.md", None),
        ("metrics/vanilla/seed0/gsm8k.json.provenance.json", None),
        ("models/contrastive/seed0/model.safetensors", None),
        ("completions/dev-gsm8k/output-greedy.jsonl", None),
    ],
)
def test_a_target_that_the_config_does_not_know_is_refused(
    target: str, problem: str | None
) -> None:
    config = load(WITH_PAIRS, "my.yaml")
    target = f"results/small/{target}"
    if problem is None:
        check_target(config, target)
        check_target(config, f"./{target}")
        return
    with pytest.raises(UserError) as told:
        check_target(config, target)
    assert str(told.value).startswith(f"{target}: ") and problem in str(told.value)


@given(st.text(max_size=30))
def test_any_word_is_a_target_or_refused_in_words(text: str) -> None:
    config = load(SMALL, "my.yaml")
    for target in (text, f"results/small/metrics/{text}", f"results/small/scores/vanilla/{text}"):
        try:
            check_target(config, target)
        except UserError as error:
            assert len(str(error)) > 10
