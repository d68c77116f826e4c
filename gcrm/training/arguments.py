"""Arguments of the transformers Trainer: batches, schedule, DeepSpeed, checkpoint folder."""

import os
import socket
from pathlib import Path

import torch
from transformers import TrainingArguments

from gcrm.config.deepspeed import read_zero_config
from gcrm.config.train import NO_MATTER, TrainOptions
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.hardware import Hardware
from gcrm.utils.errors import UserError
from gcrm.utils.paths import short_name


def training_arguments(
    options: TrainOptions, hardware: Hardware, zero: Path | None, checkpoints: Path
) -> TrainingArguments:
    """Translate the options into arguments of the Trainer.

    Args:
        zero: DeepSpeed configuration file, if any.
        checkpoints: their folder.

    Raises:
        UserError: the batch sizes do not fit the number of processes, or the settings.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    on_cpu = hardware.device == "cpu"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        run_name=short_name(options.save_path),
        per_device_train_batch_size=options.micro_train_batch_size,
        per_device_eval_batch_size=options.micro_train_batch_size,
        gradient_accumulation_steps=_accumulation(options, processes),
        num_train_epochs=options.max_epochs,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup_ratio,
        # The plain AdamW takes MKL's square root, which rounds otherwise on an AMD processor.
        optim="adamw_torch_fused" if options.reproducible and zero is None else "adamw_torch",
        adam_beta1=options.adam_betas[0],
        adam_beta2=options.adam_betas[1],
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_norm,
        bf16=hardware.bf16,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and processes > 1 else None,
        deepspeed=None if zero is None else read_zero_config(zero),
        logging_steps=options.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if options.save_steps > 0 else "no",
        save_steps=max(options.save_steps, 1),
        eval_strategy="steps" if options.eval_steps > 0 else "no",
        eval_steps=max(options.eval_steps, 1),
        report_to=[],  # see callbacks.TrainingCurve
        seed=options.seed,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        log_level="error",
    )
    # One process uses one device; torchrun starts one process per GPU.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _accumulation(options: TrainOptions, processes: int) -> int:
    """Micro-batches of each process in an optimiser step."""
    if mistake := options.too_few_pairs(processes):
        raise UserError(mistake)
    number, rest = divmod(options.train_batch_size, options.micro_train_batch_size * processes)
    if rest:
        raise UserError(
            f"train_batch_size ({options.train_batch_size}) must be a multiple of "
            f"micro_train_batch_size ({options.micro_train_batch_size}) times the number of "
            f"processes ({processes})"
        )
    return number


def unfinished_training(options: TrainOptions, hardware: Hardware, zero: Path | None) -> Unfinished:
    """The checkpoints of this training; other settings, data or code have another folder."""
    sources = [*options.sources, *(options.eval_dataset or []), *([] if zero is None else [zero])]
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return Unfinished(
        options.save_path,
        "train",
        options.model_dump(mode="json", exclude=NO_MATTER),
        sources,
        *(processes, torch.get_num_threads(), hardware.device == "cpu"),
        parent=options.checkpoints,
    )


def start_deepspeed(on_cpu: bool) -> None:
    """Initialise DeepSpeed's process group; without a launcher, a group of one process."""
    if "RANK" not in os.environ:
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
    import deepspeed

    if on_cpu:
        # Otherwise DeepSpeed compiles this operation: it needs a compiler and over a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo" if on_cpu else "nccl", verbose=False)
