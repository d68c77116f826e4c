"""The GPUs that this process may use, asked of nvidia-smi: importing torch takes seconds."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

VISIBLE = "CUDA_VISIBLE_DEVICES"
PRETENDED = "GCRM_PRETENDED_GPUS"
"""variable with a number of GPUs that are not there, by which sharing can be tried without any"""
QUERY = ["nvidia-smi", "--query-gpu=index,uuid,memory.used,name", "--format=csv,noheader,nounits"]


@dataclass(frozen=True)
class Gpu:
    """A GPU that this process may use.

    Attributes:
        token: what CUDA_VISIBLE_DEVICES calls it.
        key: what its lock is called: the same in each process of the machine.
        used: memory in use, MiB; by programs that know nothing of the locks, too.
        name: the product.
    """

    token: str
    key: str
    used: int = 0
    name: str = ""


def visible(environ: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs of this machine; of those, only what CUDA_VISIBLE_DEVICES names, where it is set.

    Under Slurm these are the job's own; a job that asked for none has none, whatever the node has.
    GPUs that nvidia-smi does not know of are not found.
    """
    if VISIBLE not in environ and "SLURM_JOB_ID" in environ:
        return []
    here = _installed(environ)
    if VISIBLE not in environ or not here:
        return here
    found: list[Gpu] = []
    for token in environ[VISIBLE].split(","):
        gpu = _named(token.strip(), here)
        if gpu is None or gpu.key in {other.key for other in found}:
            break  # CUDA, too, ignores what comes behind a name that it does not know
        found.append(gpu)
    return found


def _installed(environ: Mapping[str, str]) -> list[Gpu]:
    if pretended := environ.get(PRETENDED):
        number = int(pretended) if pretended.isdecimal() else 0
        return [Gpu(str(i), f"pretended-{i}", name="pretended") for i in range(number)]
    try:
        listed = subprocess.run(QUERY, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ", 3) for line in listed.stdout.splitlines() if line.count(", ") >= 3]
    return [
        Gpu(index, uuid, int(used) if used.isdigit() else 0, name)
        for index, uuid, used, name in rows
    ]


def _named(token: str, here: Sequence[Gpu]) -> Gpu | None:
    """The GPU that a part of CUDA_VISIBLE_DEVICES names, by number or by the start of its UUID."""
    if token.startswith("MIG-"):
        return Gpu(token, token)
    for gpu in here:
        if gpu.token == token or (token.startswith("GPU-") and gpu.key.startswith(token)):
            return replace(gpu, token=token)
    return None
