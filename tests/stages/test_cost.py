"""The estimate of a run's cost, against numbers worked out by hand and sizes of real models."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from gcrm.cli import run_stage
from gcrm.config.cost import CostOptions, CostSettings
from gcrm.config.loading import load
from gcrm.config.run import Config
from gcrm.cost import as_table, estimate_line, run
from gcrm.estimate.run import estimate, find_devices
from gcrm.estimate.sizes import (
    PAPER_MODELS,
    DataSize,
    ModelSize,
    model_size,
    scored_size,
    training_size,
)
from gcrm.utils.errors import UserError
from helpers.gguf_files import save_gguf_and_folder
from helpers.workflow_runs import ROOT, SMALL, write_config

BASE = "nvidia/OpenMath-CodeLlama-7b-Python-hf"
OWN: dict[str, Any] = {
    "run": "own",
    "benchmarks": ["gsm8k", "svamp"],
    "base_model": BASE,
    "preferences": "owner/pairs",
    "completions": "download:predictions",
    "downloads": {
        "predictions": {
            "format": "completions",
            "samples": {"gsm8k": 50},
            "files": [{"url": "https://h.org/a.zip", "size": 3_000_000_000}],
        }
    },
    "train": {"bf16": True, "zero_stage": 3, "gradient_checkpointing": True, "max_epochs": 2},
    "variants": {
        "vanilla": None,
        "contrastive": {"reward_model_strategy": "contrastive", "gradient_checkpointing": False},
    },
    "seeds": [0, 1, 2],
    "cost": {
        "device": "a100",
        "devices": 8,
        "pairs": 10_000,
        "sizes": {"gsm8k": 1319, "svamp": 1000},
        "sequence_tokens": 400,
    },
}


def config(**changes: Any) -> Config:
    return load(OWN | changes, "own.yaml")


# --- sizes ------------------------------------------------------------------------------------


def size_of(config: LlamaConfig) -> ModelSize:
    """Of the reward model itself, without memory for its weights."""
    with torch.device("meta"):
        model = LlamaForSequenceClassification(config)
    parameters = sum(weight.numel() for weight in model.parameters())
    return ModelSize(parameters, parameters - model.model.embed_tokens.weight.numel())


def small_llama(**more: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_labels=1,
        pad_token_id=0,
        **more,
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard", ["20KB", "1GB"])
def test_the_size_of_a_model_is_read_from_its_files(tmp_path: Path, tied: bool, shard: str) -> None:
    config = small_llama(tie_word_embeddings=tied)
    LlamaForCausalLM(config).save_pretrained(tmp_path, max_shard_size=shard)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == (shard == "20KB")
    shutil.copy(files[0], tmp_path / "consolidated.safetensors")  # duplicate weights
    assert model_size(str(tmp_path)) == size_of(config)


@pytest.mark.parametrize(
    ("name", "intermediate", "kv_heads", "vocabulary"),
    [(BASE, 11008, 32, 32016), ("meta-llama/Meta-Llama-3-8B-Instruct", 14336, 8, 128256)],
)
def test_sizes_of_the_papers_models(
    name: str, intermediate: int, kv_heads: int, vocabulary: int
) -> None:
    """They follow from the config.json of each on the hub."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=4096,
        intermediate_size=intermediate,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=kv_heads,
        num_labels=1,
    )
    assert model_size(name) == PAPER_MODELS[name] == size_of(config)


def test_a_gguf_file_has_the_size_of_the_weights_it_stands_for(tmp_path: Path) -> None:
    """Its weights have other names, and are packed."""
    file, folder = save_gguf_and_folder(tmp_path)
    size = model_size(str(file))
    assert size is not None and size == model_size(str(folder))


@pytest.mark.parametrize("model", ["owner/model", "tests", "none.gguf"])
def test_sizes_of_other_models_are_unknown(model: str) -> None:
    assert model_size(model) is None


# --- data -------------------------------------------------------------------------------------


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


PROMPT = [{"role": "user", "content": "x" * 300}]
DIALOGUE, OTHER = ([*PROMPT, {"role": "assistant", "content": one * 30}] for one in "yz")


@pytest.mark.parametrize(
    ("row", "tokens"),
    [
        # Both sides contain the question: 30 + 60 + 30 + 90 characters, 3 of them a token.
        ({"question": "x" * 30, "correct": "y" * 60, "incorrect": "z" * 90}, 70),
        ({"chosen": DIALOGUE, "rejected": OTHER}, 220),
        ({"prompt": PROMPT, "chosen": DIALOGUE, "rejected": OTHER}, 220),
    ],
)
def test_pairs_are_counted_in_their_files(tmp_path: Path, row: dict[str, Any], tokens: int) -> None:
    path = write_rows(tmp_path / "p.jsonl", [row] * 500)
    assert training_size(config(preferences=str(path))) == DataSize(500, 500 * tokens)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row] * 300), tmp_path / "p.parquet")
    both = config(preferences=[str(path), str(tmp_path / "p.parquet")])
    assert training_size(both) == DataSize(800, 800 * tokens)


@pytest.mark.parametrize("content", ['{"question": 1', "[1]", '{"chosen": [1], "rejected": "x"}'])
def test_broken_rows_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"{path}, (row|line) 1: "):
        training_size(config(preferences=str(path)))


def test_the_first_rows_stand_for_all(tmp_path: Path) -> None:
    row = {"question": "x" * 30, "correct": "y" * 60, "incorrect": "z" * 90}
    path = write_rows(tmp_path / "p.jsonl", [row] * 3000)
    with path.open("a") as file:
        file.write("\n\nnot read\n")
    assert training_size(config(preferences=str(path))) == DataSize(3001, 3001 * 70)


def test_missing_pairs_are_assumed_or_unknown() -> None:
    assert training_size(config()) == DataSize(10_000, 10_000 * 800, assumed=True)
    assert training_size(config(cost={})) is None


def test_completions_are_counted_in_their_files(tmp_path: Path) -> None:
    row = {"question": "x" * 60, "generated_solution": "y" * 90, "is_correct": True}
    for name in ("gsm8k/output-greedy", "gsm8k/output-rs0", "svamp/output-greedy"):
        write_rows(tmp_path / f"{name}.jsonl", [row] * 40)
    own = config(completions=str(tmp_path), downloads={})
    assert scored_size(own) == DataSize(120, 120 * 50)
    capped = config(completions=str(tmp_path), downloads={}, evaluate={"max_problems": 10})
    assert scored_size(capped) == DataSize(30, 30 * 50)


def test_missing_completions_are_assumed_or_unknown() -> None:
    rows = 51 * 1319 + 1000
    assert scored_size(config()) == DataSize(rows, rows * 400, assumed=True)
    assert scored_size(config(cost={"sizes": {"gsm8k": 1319}})) is None


def test_held_out_pairs_have_two_completions_each(tmp_path: Path) -> None:
    row = {"prompt": "x" * 30, "chosen": "y" * 60, "rejected": "z" * 90}
    path = write_rows(tmp_path / "h.jsonl", [row] * 50)
    own = {"benchmarks": [], "completions": None, "downloads": {}}
    here = config(**own, heldout={"h": str(path)}, evaluate={"max_pairs": 40})
    assert scored_size(here) == DataSize(80, 40 * 70)
    assumed = config(**own, heldout={"h": "owner/pairs"}, cost={"sizes": {"h": 7}})
    assert scored_size(assumed) == DataSize(14, 14 * 400, assumed=True)
    assert scored_size(config(**own, heldout={"h": "owner/pairs"})) is None


# --- the estimate -----------------------------------------------------------------------------


N = 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 2 * 4096
"""multiplied parameters of BASE: attention, MLP and norms of 32 layers, the last norm, the head"""


def test_flops_hours_and_disk_by_hand() -> None:
    found = estimate(config())
    assert found.size == ModelSize(N + 32016 * 4096, N)
    train = 10_000 * 800 * 2 * 3  # pairs, tokens, epochs, seeds
    scored = (51 * 1319 + 1000) * 400
    by_stage = {
        "train vanilla": 8 * N * train,
        "train contrastive": 6 * N * train,
        "represent": 2 * N * 10_000 * 400 * 6,
        "evaluate": 2 * N * scored * 6,
    }
    assert {one.stage: one.flops for one in found.stages} == by_stage
    assert found.flops == sum(by_stage.values())
    assert found.flops_per_second == 8 * 312e12 * 0.4
    assert found.disk == {
        "reward models": 6 * 2 * found.size.parameters,
        "scores": 8 * scored * 6,
        "downloads": 3_000_000_000,
    }


def test_goal_states_of_few_examples_cost_both_sides_and_all_samples() -> None:
    found = estimate(config(goals={"max_pairs": 1000, "max_problems": 10})).stages
    assert {one.stage: one.flops for one in found[-2:]} == {
        "goals, examples": 2 * N * 1000 * 800 * 6,
        "goals, samples": 2 * N * 10 * 50 * 400 * 6,
    }


def test_samples_that_are_generated_cost_both_models() -> None:
    generate = {"methods": ["plain", "reward_worst"], "num_samples": 4, "max_problems": 10}
    one = estimate(config(generate=generate)).stages[-1]
    assert (one.stage, one.flops) == ("generate", 2 * N * (10 * 4 * 2) * 400 * 2 * 6)


@pytest.mark.parametrize(("zero_stage", "state", "width"), [(3, 14, 2), (0, 12, 4)])
def test_checkpoints_need_disk(zero_stage: int, state: int, width: int) -> None:
    train = {"bf16": True, "zero_stage": zero_stage, "save_steps": 100}
    found = estimate(config(train=train))
    assert found.size is not None
    assert found.disk["checkpoints while one trains"] == 3 * state * found.size.parameters
    assert found.disk["reward models"] == 6 * width * found.size.parameters


def test_caps_lower_the_cost() -> None:
    capped = estimate(config(train={"max_pairs": 1000}, represent={"max_pairs": 100})).stages
    whole = estimate(config(train={})).stages
    assert capped[0].flops * 10 == whole[0].flops
    assert capped[2].flops * 100 == whole[2].flops


@pytest.mark.parametrize("less", [{"train_layers": 2}, {"lora_rank": 4}])
def test_frozen_weights_cost_less(less: dict[str, int]) -> None:
    assert "some weights are frozen" in estimate(config(train=less)).stages[0].formula
    assert "frozen" not in estimate(config(train={})).stages[0].formula


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        (
            {"cost": {"device": "a100"}},
            [
                "the number of pairs is not known yet: estimated for 10,000",
                "the number of completions is not known yet",
            ],
        ),
        ({"base_model": "owner/model"}, []),
    ],
)
def test_unknown_sizes_are_named(changes: dict[str, Any], facts: list[str]) -> None:
    own = config(**changes)
    line, table = estimate_line(own, "own.yaml"), as_table(estimate(own), own)
    assert all(fact in line and fact in table for fact in facts)
    assert "\nall " not in table
    if not facts:
        assert "unknown, because the size of owner/model is;" in line
        assert "FLOPs are unknown, because the size of the base model is" in table


def test_a_run_that_makes_its_data_says_so() -> None:
    line = estimate_line(load(SMALL, "small.yaml"), "small.yaml")
    assert "not known before; the run makes base_model, preferences, completions itself" in line


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        (
            {},
            [
                "6 reward models",
                "10,000 pairs of 8,000,000 tokens, 68,269 completions of 27,307,600 ",
            ],
        ),
        # The pairs that are trained on.
        (
            {"train": OWN["train"] | {"max_pairs": 100}},
            ["6 reward models, 100 pairs of 80,000 tokens"],
        ),
        (
            {"variants": {"all": None, "some": {"max_pairs": 100}}},
            ["10,000 pairs of 8,000,000 tokens, 100 pairs of 80,000 tokens"],
        ),
    ],
)
def test_the_estimate_in_one_line(changes: dict[str, Any], facts: list[str]) -> None:
    own = config(**changes)
    line, flops = estimate_line(own, "own.yaml"), estimate(own).flops
    assert "\n" not in line
    for fact in (
        *facts,
        f"cost: {flops:.1e} FLOPs, {flops / 998.4e12 / 3600:.2g} hours on 8 a100 (",
        " GB of disk",
        "more: python -m gcrm.cost --config own.yaml",
    ):
        assert fact in line


# --- devices ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assumed", "speed"),
    [
        ({"device": "a100", "devices": 8}, 8 * 312e12 * 0.4),
        # Measured: 170 GFLOP/s on two cores, of which training and scoring reach 45 %.
        ({"device": "cpu", "devices": 2}, 170e9 * 0.45),
        ({"device": "cpu", "devices": 3, "flops_per_second": 1e9}, 3e9),
    ],
)
def test_speed_is_number_times_peak_times_share(assumed: dict[str, Any], speed: float) -> None:
    assert find_devices(CostSettings(**assumed))[1] == speed


@pytest.mark.parametrize(
    ("listed", "cores", "found", "known"),
    [
        ("NVIDIA A100-SXM4-80GB\n" * 4, 2, "4 a100 (", True),
        ("NVIDIA H100 80GB HBM3\n", 2, "1 h100 (", True),
        ("NVIDIA GeForce RTX 4090\n", 2, "1 rtx4090 (", True),
        ("NVIDIA TITAN X\n", 2, "1 NVIDIA TITAN X (of unknown speed: ", False),
        ("", 2, "2 CPU cores (", True),
        ("", 64, "8 CPU cores (", True),
        ("", None, "8 CPU cores (", True),
    ],
)
def test_devices_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, listed: str, cores: int | None, found: str, known: bool
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    rows = "".join(f"{i}, GPU-{i}, 0, {name}\n" for i, name in enumerate(listed.splitlines()))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=rows))
    words, speed = find_devices(CostSettings(), cores)
    assert words.startswith(found) and (speed is not None) == known


# --- the command ------------------------------------------------------------------------------


def cost(*words: object) -> int:
    return run_stage(CostOptions, run, [str(word) for word in words])


def test_options_overrule_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(tmp_path / "own.yaml", OWN)
    assert cost("--config", tmp_path / "own.yaml") == 0
    first = capsys.readouterr().out
    assert cost("--config", tmp_path / "own.yaml", "--pairs", 20_000, "--devices", 16) == 0
    second = capsys.readouterr().out
    assert "10,000 pairs of 8,000,000 tokens" in first and "hours on 8 a100" in first
    assert "20,000 pairs of 16,000,000 tokens" in second and "hours on 16 a100" in second
    sizes = '{"gsm8k": 20, "svamp": 5}'
    assert cost("--config", tmp_path / "own.yaml", "--sizes", sizes) == 0
    assert "1,025 completions of 410,000 tokens" in capsys.readouterr().out


def test_no_torch_is_needed(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    done = subprocess.run(
        [sys.executable, "-m", "gcrm.cost", "--config", "config/paper/paper.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr


def test_the_docs_show_what_the_command_prints() -> None:
    config = load(yaml.safe_load((ROOT / "config" / "paper" / "paper.yaml").read_text()), "paper")
    shown = {line.strip() for line in (ROOT / "docs" / "paper.md").read_text().splitlines()}
    assert set(as_table(estimate(config), config).splitlines()) - shown == set()
