"""The hardware that a stage uses; where the machine lacks what was asked for, one line says so."""

import importlib.util
import os
from dataclasses import dataclass

import torch

from gcrm.utils.errors import UserError
from gcrm.utils.logging import say


@dataclass(frozen=True)
class Hardware:
    """Where and how models compute.

    Attributes:
        device: "cuda" (the process's own GPU) or "cpu".
        bf16: compute in bfloat16; the reward head always computes in fp32.
        attention: the attention implementation of transformers.
    """

    device: str
    bf16: bool
    attention: str

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights at inference."""
        return torch.bfloat16 if self.bf16 else torch.float32


def has_bf16(on_gpu: bool) -> bool:
    """Whether the GPU, or the CPU, multiplies in bfloat16; emulated, it would only be slower."""
    if on_gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def choose_hardware(bf16: bool = False, flash_attn: bool = False) -> Hardware:
    """The closest to what is asked for; every fallback is said in one line.

    Raises:
        UserError: torchrun started more processes here than there are GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes > gpus > 0:
        raise UserError(
            f"{processes} processes were started on a machine with {gpus} GPUs, and each needs "
            f"one; start as many: torchrun --nproc-per-node {gpus} …"
        )
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if bf16 and not has_bf16(on_gpu=gpus > 0):
        say(f"bf16 was asked for, but this {'GPU' if gpus else 'CPU'} lacks it: computing in fp32")
        bf16 = False
    if flash_attn and not (gpus and importlib.util.find_spec("flash_attn")):
        missing = "the package flash-attn is not installed" if gpus else "there is no GPU"
        say(f"flash attention was asked for, but {missing}: using sdpa")
        flash_attn = False
    if flash_attn and not bf16:
        say("flash attention needs bf16: using sdpa")
        flash_attn = False
    if gpus > 1 and processes == 1:
        say(
            f"{gpus} GPUs are visible and one is used; for all, start with: "
            f"torchrun --standalone --nproc-per-node {gpus} -m gcrm.…"
        )
    if not gpus:
        # Or DeepSpeed, which the Trainer asks for its device, looks for GPUs and reports on it.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        say(f"no GPU: computing on the CPU with {torch.get_num_threads()} thread(s)")
    attention = "flash_attention_2" if flash_attn else "sdpa"
    return Hardware("cuda" if gpus else "cpu", bf16, attention)
