"""DeepSpeed's configuration for each ZeRO stage, on GPUs and on the CPU."""

import os
import socket
from typing import Any


def zero_config(stage: int, on_cpu: bool) -> dict[str, Any]:
    """What `TrainingArguments(deepspeed=…)` takes; "auto" values come from the Trainer."""
    zero: dict[str, Any] = {"stage": stage}
    if stage == 3:
        # Without it ZeRO-3 writes no model file: each process holds only its part.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    config: dict[str, Any] = {
        "zero_optimization": zero,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
    }
    if on_cpu:
        # torch's AdamW instead of DeepSpeed's own, which would have to be compiled.
        config |= {"zero_force_ds_cpu_optimizer": False, "zero_allow_untested_optimizer": True}
    return config


def prepare_environment() -> None:
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
