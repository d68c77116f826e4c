"""No variable of the user's environment ends a stage, or changes what it writes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.models import save_base_model
from helpers.rows import write_rows
from helpers.workflow_runs import ROOT

STAGES = """
train --pretrain base --dataset pairs.jsonl --save_path models/a/seed0 --max_len 64
represent --reward-model-path models/a/seed0 --dataset-path pairs.jsonl --save-dir goal
    --max_len 64
evaluate --reward_model_path models/a/seed0 --completions_data_path completions --benchmarks few
    --goal_state_path goal/goal_state.npy --splits greedy --max_len 64
    --output scores/a/seed0/few/greedy/scores.parquet
metrics --scores scores/a/seed0/few/greedy/scores.parquet --output metrics/a/seed0/few.json
compare --scores scores/a/seed0/few/greedy/scores.parquet scores/b/seed0/few/greedy/scores.parquet
    --output comparisons/few.json
track --metrics metrics/a/seed0/few.json --models_dir models --output metrics.jsonl
export --scores scores/a/seed0/few/greedy/scores.parquet --output output.jsonl
report --run few --metrics metrics/a/seed0/few.json --save_dir report
"""
ALL = """
import runpy, shutil, sys
for stage in sys.argv[1].replace("\\n    ", " ").split("\\n")[1:-1]:
    sys.argv = stage.split()
    if stage.startswith("compare"):
        shutil.copytree("scores/a", "scores/b")
    try:
        runpy.run_module("gcrm." + sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            sys.exit(stage)
"""
NOWHERE = str(ROOT / "pyproject.toml" / "below a file")
FEWER_THREADS = {"OMP_DYNAMIC": "TRUE", "OMP_THREAD_LIMIT": "1"}
HOSTILE = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONSAFEPATH": "1",
    "OMP_NUM_THREADS": "abc",
    **FEWER_THREADS,
    "COLUMNS": "1",
    "FORCE_COLOR": "1",
    "TZ": "odd/zone",
    "GIT_DIR": NOWHERE,
    "CUDA_VISIBLE_DEVICES": "abc",
    "http_proxy": ":::",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "EAGER",
    "WANDB_MODE": "online",
    "WANDB_API_KEY": "x",
    "TOKENIZERS_PARALLELISM": "odd",
    "TRANSFORMERS_VERBOSITY": "debug",
    **dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "HF_HOME"), NOWHERE),
    **dict.fromkeys(("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "WANDB_DIR"), NOWHERE),
}


def made_in(folder: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """The files that all stages make there, but for those that tell the time and the machine."""
    save_base_model(folder / "base")
    rows = [
        {"question": f"how many {i} ?", "correct": f"{i}", "incorrect": "= 0"} for i in range(9)
    ]
    write_rows(folder / "pairs.jsonl", *rows)
    solved = [
        {
            "question": row["question"],
            "generated_solution": row[side],
            "is_correct": side == "correct",
        }
        | {"expected_answer": row["correct"], "predicted_answer": row[side]}
        for row, side in zip(rows, 3 * ["correct", "incorrect", "correct"], strict=True)
    ]
    write_rows(folder / "completions/few/output-greedy.jsonl", *solved)
    command = [sys.executable, "-c", ALL, STAGES]
    ended = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        umask=0o77,
    )
    assert ended.returncode == 0, ended.stderr
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHINDUCTOR_CACHE_DIR"):
        assert (f"{name}={environment.get(name)} of the" in ended.stderr) == (name in environment)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for end in ("safetensors", "npy", "parquet", "json", "jsonl", "png", "md")
        for path in sorted(folder.rglob(f"*.{end}"))
        if "provenance" not in path.name and path.name != "training_log.jsonl"
    }


@pytest.mark.slow
def test_no_variable_of_the_environment_changes_a_result(tmp_path: Path) -> None:
    found = made_in(tmp_path / "it's a “ü”", HOSTILE)
    # With the same number of threads: others change the last digits.
    expected = made_in(tmp_path / "plain", {"OMP_NUM_THREADS": HOSTILE["OMP_NUM_THREADS"]})
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert any(name.endswith("png") for name in found)


PRODUCT = """
import os, torch
torch.set_num_threads(2)
from gcrm.modeling.onednn import use_onednn
layer = torch.nn.Linear(128, 256, bias=False)
use_onednn(layer)
inputs = torch.randn(1000, 128)
found = layer(inputs)
torch.testing.assert_close(found, inputs @ layer.weight.t(), atol=1e-4, rtol=0)
found.sum().backward()
torch.testing.assert_close(layer.weight.grad, inputs.sum(dim=0).expand(256, -1), atol=1e-3, rtol=0)
"""


@pytest.mark.parametrize("name", FEWER_THREADS)
def test_fewer_threads_than_asked_for_make_no_product_wrong(name: str) -> None:
    few = os.environ | {name: FEWER_THREADS[name], "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", PRODUCT], env=few, check=True)


def test_a_stage_unsets_and_names_them(tmp_path: Path) -> None:
    problem = {"question": "2 + 3", "solution": "2 + 3 = 5 . answer 5"}
    write_rows(tmp_path / "problems.jsonl", *20 * [problem])
    words = "--reproducible --problems problems.jsonl --save_path model"
    words += " --layers 1 --steps 5 --hidden_size 128 --heads 2"
    models = []
    for extra in ({}, FEWER_THREADS):
        folder = tmp_path / "model"
        ended = subprocess.run(
            [sys.executable, "-m", "gcrm.pretrain", *words.split()],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "2"} | extra,
            capture_output=True,
            text=True,
            check=True,
        )
        assert [name in ended.stderr for name in FEWER_THREADS] == 2 * [bool(extra)]
        models.append((folder / "model.safetensors").read_bytes())
        shutil.rmtree(folder)
    assert models[0] == models[1]
