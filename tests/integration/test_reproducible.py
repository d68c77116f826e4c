"""`--reproducible`: the same bits, whichever instructions a CPU and its user would have taken.

test_end_to_end.py compares a whole run with digests that another machine made.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gcrm.utils.environment import has_avx2
from helpers.training import training_folder

OTHERS = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "MKL_CBWR": "AVX2",
}
"""variables that choose other instructions, or fewer digits"""

pytestmark = pytest.mark.skipif(not has_avx2(), reason="no x86-64 CPU with AVX2")


def train(folder: Path, name: str, *flags: str, **environment: str) -> bytes:
    """The weights of a contrastive training by the command."""
    options = ["--pretrain", "base", "--dataset", "pairs.jsonl", "--save_path", name, *flags]
    options += ["--reward_model_strategy", "contrastive", "--train_batch_size", "8"]
    options += ["--micro_train_batch_size", "8", "--max_len", "64", "--learning_rate", "1e-3"]
    command = [sys.executable, "-m", "gcrm.train", *options]
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return (folder / name / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_other_instructions_give_other_bits_only_without_it(tmp_path: Path) -> None:
    training_folder(tmp_path)
    expected = train(tmp_path, "expected", "--reproducible")
    assert train(tmp_path, "same", "--reproducible", **OTHERS) == expected
    assert train(tmp_path, "other", **OTHERS) != expected
