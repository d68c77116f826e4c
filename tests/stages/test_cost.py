"""The estimate of cost, against numbers worked out by hand and sizes of real models."""

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
from gcrm.estimate.run import estimate, find_devices, total_flops
from gcrm.estimate.sizes import (
    PAPER_MODELS,
    DataSize,
    ModelSize,
    model_size,
    scored_size,
    training_size,
)
from gcrm.utils.errors import UserError
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
def test_the_size_is_read_from_the_files_of_a_folder(tmp_path: Path, tied: bool) -> None:
    config = small_llama(tie_word_embeddings=tied)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base", max_shard_size="20KB")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 1
    assert model_size(str(tmp_path / "base")) == size_of(config)


def test_duplicate_weights_count_once(tmp_path: Path) -> None:
    LlamaForCausalLM(small_llama()).save_pretrained(tmp_path)
    alone = model_size(str(tmp_path))
    shutil.copy(tmp_path / "model.safetensors", tmp_path / "consolidated.safetensors")
    assert model_size(str(tmp_path)) == alone


@pytest.mark.parametrize(
    ("name", "intermediate", "kv_heads", "vocabulary"),
    [(BASE, 11008, 32, 32016), ("meta-llama/Meta-Llama-3-8B-Instruct", 14336, 8, 128256)],
)
def test_the_papers_models_have_the_sizes_of_their_configs(
    name: str, intermediate: int, kv_heads: int, vocabulary: int
) -> None:
    """The numbers in the config.json of each on the hub."""
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


def test_other_models_are_unknown(tmp_path: Path) -> None:
    assert model_size("owner/model") is None
    assert model_size(str(tmp_path)) is None
    assert model_size(str(tmp_path / "none.gguf")) is None


# --- data -------------------------------------------------------------------------------------


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_pairs_are_counted_in_the_files(tmp_path: Path) -> None:
    row = {"question": "x" * 30, "correct": "y" * 60, "incorrect": "z" * 90}
    path = write_rows(tmp_path / "p.jsonl", [row] * 500)
    # Both sides with the question: 30 + 60 + 30 + 90 = 210 characters, 70 tokens.
    assert training_size(config(preferences=str(path))) == DataSize(500, 500 * 70)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row] * 300), tmp_path / "p.parquet")
    both = config(preferences=[str(path), str(tmp_path / "p.parquet")])
    assert training_size(both) == DataSize(800, 800 * 70)
    mixed = config(preferences=[str(path), str(tmp_path / "p.parquet")], dataset_probs=[0.25, 0.75])
    # The second is used whole: 300 are three quarters of 400.
    assert training_size(mixed) == DataSize(400, 400 * 70)


def test_pairs_of_dialogues_are_counted(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "x" * 20}
    sides = [[asked, {"role": "assistant", "content": text}] for text in ("y" * 10, "z" * 10)]
    path = write_rows(tmp_path / "p.jsonl", [{"chosen": sides[0], "rejected": sides[1]}])
    assert training_size(config(preferences=str(path))) == DataSize(1, 20)


def test_a_prompt_with_which_dialogues_begin_counts_once_a_side(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "x" * 300}]
    sides = [[*prompt, {"role": "assistant", "content": "y" * 30}] for _ in range(2)]
    rows = [{"prompt": prompt, "chosen": sides[0], "rejected": sides[1]}] * 10
    path = write_rows(tmp_path / "p.jsonl", rows)
    assert training_size(config(preferences=str(path))) == DataSize(10, 2 * 330 // 3 * 10)


@pytest.mark.parametrize("content", ['{"question": 1', "[1]", '{"chosen": [1], "rejected": "x"}'])
def test_rows_that_cannot_be_counted_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"{path}, (row|line) 1: "):
        training_size(config(preferences=str(path)))
    (tmp_path / "p.parquet").write_bytes(content.encode())
    with pytest.raises(UserError, match="not a readable Parquet file"):
        training_size(config(preferences=str(tmp_path / "p.parquet")))


def test_the_first_rows_stand_for_all(tmp_path: Path) -> None:
    row = {"question": "x" * 30, "correct": "y" * 60, "incorrect": "z" * 90}
    path = write_rows(tmp_path / "p.jsonl", [row] * 3000)
    with path.open("a") as file:
        file.write("\n\nnot read\n")
    assert training_size(config(preferences=str(path))) == DataSize(3001, 3001 * 70)


def test_pairs_that_are_not_here_are_assumed_or_unknown() -> None:
    assert training_size(config()) == DataSize(10_000, 10_000 * 800, assumed=True)
    assert training_size(config(cost={})) is None


def test_completions_are_counted_in_the_files(tmp_path: Path) -> None:
    row = {"question": "x" * 60, "generated_solution": "y" * 90, "is_correct": True}
    for name in ("gsm8k/output-greedy", "gsm8k/output-rs0", "svamp/output-greedy"):
        write_rows(tmp_path / f"{name}.jsonl", [row] * 40)
    own = config(completions=str(tmp_path), downloads={})
    assert scored_size(own) == DataSize(120, 120 * 50)
    capped = config(completions=str(tmp_path), downloads={}, evaluate={"max_problems": 10})
    assert scored_size(capped) == DataSize(30, 30 * 50)


def test_completions_that_are_not_here_are_assumed_or_unknown() -> None:
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


def test_operations_hours_and_disk_are_those_worked_out_by_hand() -> None:
    found = estimate(config())
    # A layer: 4 * 4096^2 attention, 3 * 4096 * 11008 MLP, 2 * 4096 norms; 32 of them, and 2 * 4096.
    n = 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 2 * 4096
    assert found.size is not None
    assert found.size.multiplied == n == 6_476_275_712
    train = 10_000 * 800 * 2 * 3  # pairs, tokens, epochs, seeds
    scored = (51 * 1319 + 1000) * 400
    assert [item.flops for item in found.training] == [
        8 * n * train,
        6 * n * train,
        2 * n * 10_000 * 400 * 6,
    ]
    assert [item.flops for item in found.scoring] == [2 * n * scored * 6]
    total = 14 * n * train + 12 * n * (10_000 * 400 + scored)
    everything = [*found.training, *found.scoring]
    assert total_flops(everything) == total
    assert found.hours(total) == pytest.approx(total / (8 * 312e12 * 0.4) / 3600)
    weights = n + 32016 * 4096
    assert found.disk == {
        "reward models": 6 * 2 * weights,
        "scores": 8 * scored * 6,
        "downloads": 3_000_000_000,
    }


def test_checkpoints_to_resume_from_need_disk() -> None:
    weights = 6_476_275_712 + 32016 * 4096
    for zero_stage, state, width in ((3, 14, 2), (0, 12, 4)):
        train = {"bf16": True, "zero_stage": zero_stage, "save_steps": 100}
        disk = estimate(config(train=train)).disk
        assert disk["checkpoints while one trains"] == 3 * state * weights
        assert disk["reward models"] == 6 * width * weights


def test_caps_lower_the_cost() -> None:
    capped = estimate(config(train={"max_pairs": 1000}, represent={"max_pairs": 100}))
    whole = estimate(config(train={}))
    assert capped.training[0].flops * 10 == whole.training[0].flops
    assert capped.training[2].flops * 100 == whole.training[2].flops


@pytest.mark.parametrize("less", [{"train_layers": 2}, {"lora_rank": 4}])
def test_training_of_some_weights_costs_less_than_told(less: dict[str, int]) -> None:
    some, whole = estimate(config(train=less)), estimate(config(train={}))
    assert some.training[0].flops == whole.training[0].flops
    assert some.training[0].formula == f"at most {whole.training[0].formula}"


def test_what_is_not_known_is_told_as_such() -> None:
    unknown = config(cost={"device": "a100"})
    found = estimate(unknown)
    assert (found.pairs, found.scored, found.scoring) == (None, None, [])
    table = as_table(found, unknown)
    assert "the number of pairs is not known yet: estimated for 10,000" in table
    assert "the number of completions is not known yet" in table
    assert "\nall " not in table
    line = estimate_line(unknown, "own.yaml")
    assert "for each 10,000 of an unknown number of pairs" in line
    assert "0.0e+00" not in line
    other = config(base_model="owner/model")
    assert estimate(other).size is None
    assert "the size of owner/model is;" in estimate_line(other, "own.yaml")
    assert "because the size of the base model is" in as_table(estimate(other), other)


def test_a_run_that_makes_its_data_says_so() -> None:
    line = estimate_line(load(SMALL, "small.yaml"), "small.yaml")
    assert "not known before; the run makes base_model, preferences, completions itself" in line


def test_the_line_is_one_line_with_all_that_matters() -> None:
    own = config()
    found = estimate(own)
    line = estimate_line(own, "own.yaml")
    assert "\n" not in line
    total = total_flops([*found.training, *found.scoring])
    for part in (
        f"{total:.1e} FLOPs",
        "6 reward models",
        "10,000 pairs of 8,000,000 tokens",
        f"{51 * 1319 + 1000:,} completions of 27,307,600 tokens",
        "on 8 a100",
        "GB of disk",
        "python -m gcrm.cost --config own.yaml",
    ):
        assert part in line


def test_the_line_counts_the_pairs_that_are_trained_on() -> None:
    """Not those that `max_pairs` leaves out; variants that differ in it are told one by one."""
    own = config(variants={"all": None, "some": {"max_pairs": 100}})
    line = estimate_line(own, "own.yaml")
    assert "10,000 pairs of 8,000,000 tokens, 100 pairs of 80,000 tokens" in line
    capped = config(train=OWN["train"] | {"max_pairs": 100})
    line = estimate_line(capped, "own.yaml")
    assert "100 pairs of 80,000 tokens" in line and "10,000 pairs" not in line


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


@pytest.mark.parametrize(("cores", "used"), [(5, 5), (64, 8), (None, 8)])
def test_cpu_cores_are_those_that_the_run_may_use(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, used: int
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    words, speed = find_devices(CostSettings(), cores)
    assert words.startswith(f"{used} CPU cores (") and speed == used * 85e9 * 0.45


@pytest.mark.parametrize(
    ("listed", "found", "known"),
    [
        ("NVIDIA A100-SXM4-80GB\n" * 4, "4 a100 (", True),
        ("NVIDIA H100 80GB HBM3\n", "1 h100 (", True),
        ("NVIDIA GeForce RTX 4090\n", "1 rtx4090 (", True),
        ("NVIDIA TITAN X\n", "1 NVIDIA TITAN X (of unknown speed: ", False),
        ("", "2 CPU cores (", True),
    ],
)
def test_gpus_are_recognised(
    monkeypatch: pytest.MonkeyPatch, listed: str, found: str, known: bool
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    rows = "".join(f"{i}, GPU-{i}, 0, {name}\n" for i, name in enumerate(listed.splitlines()))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=rows))
    words, speed = find_devices(CostSettings(), cores=2)
    assert words.startswith(found) and (speed is not None) == known


# --- the command ------------------------------------------------------------------------------


def cost(*words: object) -> int:
    return run_stage(CostOptions, run, [str(word) for word in words])


def test_options_of_the_command_stand_above_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path / "own.yaml", OWN)
    assert cost("--config", tmp_path / "own.yaml") == 0
    first = capsys.readouterr().out
    assert "10,000 pairs of 8,000,000 tokens" in first
    assert cost("--config", tmp_path / "own.yaml", "--pairs", 20_000, "--devices", 16) == 0
    second = capsys.readouterr().out
    assert "20,000 pairs of 16,000,000 tokens" in second
    assert "hours on 16 a100" in second
    assert "8 N tokens x epochs 2 x seeds 3" in second
    # Twice the training on twice the devices takes the same hours.
    lines = [
        next(line for line in text.splitlines() if line.startswith("train vanilla"))
        for text in (first, second)
    ]
    assert lines[0].partition(" tokens ")[2].split()[1] == lines[1].split(" tokens ")[1].split()[1]


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "run: own\nvariants: {}\n"])
def test_a_config_that_is_none_is_refused(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(content)
    assert cost("--config", tmp_path / "own.yaml") == 1
    assert f"cost: error: {tmp_path / 'own.yaml'}: " in capsys.readouterr().err


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
