"""DeepSpeed: which configuration a ZeRO stage has, and what it needs from the environment.

The configurations are config/deepspeed/zero{1,2,3}.json; their values "auto" come from the Trainer.
Two things in them are not obvious. ZeRO-3 gathers its weights on saving, or there would be no model
file, for each process holds only a part. And torch's AdamW is taken as it is, for on a CPU
DeepSpeed's own would have to be compiled.
"""

import json
import os
import socket
from pathlib import Path
from typing import Any

from gcrm.config.train import TrainSettings
from gcrm.utils.errors import UserError

FOLDER = Path(__file__).parent.parent.parent / "config" / "deepspeed"


def zero_file(settings: TrainSettings) -> Path | None:
    """The DeepSpeed configuration of a training; None without DeepSpeed.

    Raises:
        UserError: there is no such file.
    """
    path = settings.deepspeed_config
    if path is None and settings.zero_stage:
        path = FOLDER / f"zero{settings.zero_stage}.json"
    if path is not None and not path.is_file():
        raise UserError(f"{path}: no such file; give a DeepSpeed configuration, --deepspeed_config")
    return path


def read_zero_config(path: Path) -> dict[str, Any]:
    """What `TrainingArguments(deepspeed=…)` takes.

    Raises:
        UserError: the file is no JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a JSON object, DeepSpeed's configuration")
    return config


def start_deepspeed(on_cpu: bool) -> None:
    """Let DeepSpeed meet the other processes, before it reads how many there are off a model."""
    _be_launched()
    import deepspeed

    if on_cpu:
        # Or it would compile an operation for it, which takes a compiler and more than a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo" if on_cpu else "nccl", verbose=False)


def _be_launched() -> None:
    """What DeepSpeed reads from the environment, for a command started without a launcher."""
    if "RANK" in os.environ:
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
