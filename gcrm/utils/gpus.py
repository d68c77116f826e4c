"""Which GPUs a process sees, and taking some of them so that no other job uses them.

A GPU is taken by a lock on a file that the process holds open, so the kernel frees it however the
process ends. The files are in one folder of the machine, because all runs of all users share its
GPUs. Snakemake orders the jobs of one run; of the jobs of several runs, the first that finds
enough free GPUs takes them. Nothing here imports torch, which reads CUDA_VISIBLE_DEVICES once.
"""

import fcntl
import logging
import os
import random
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from gcrm.utils.errors import UserError
from gcrm.utils.logging import say

VISIBLE = "CUDA_VISIBLE_DEVICES"
PRETENDED = "GCRM_PRETENDED_GPUS"
"""variable with a number of GPUs to pretend, to try sharing on a machine without any"""
FOLDER = "GCRM_GPU_FOLDER"
"""variable with another folder for the locks, for containers that share GPUs but not /tmp"""
HELD = "GCRM_HELD_GPUS"
"""variable with the lock files of the GPUs that were taken for a job"""
QUERY = ["nvidia-smi", "--query-gpu=index,uuid,memory.used,name", "--format=csv,noheader,nounits"]
SECONDS_BETWEEN_TRIES = 0.5

_held: list[FileLock] = []
"""the locks of this process"""


@dataclass(frozen=True)
class Gpu:
    """A GPU that this process may use.

    Attributes:
        token: its name in CUDA_VISIBLE_DEVICES.
        key: its UUID, the same in every process of the machine; it names the lock.
        used: memory in use, MiB, also by programs that take no locks.
        name: the product.
    """

    token: str
    key: str
    used: int = 0
    name: str = ""

    @property
    def lock_file(self) -> Path:
        """The file whose lock takes this GPU."""
        return _folder() / f"{re.sub(r'[^A-Za-z0-9.-]', '_', self.key)}.lock"

    def described(self) -> str:
        """The GPU and the job that took it last, for messages."""
        holder = self.lock_file.read_text(encoding="utf-8", errors="replace").strip()
        return f"{self.token} ({holder[:80]})"


def visible_gpus(environ: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs of this machine that nvidia-smi lists and CUDA_VISIBLE_DEVICES, if set, allows.

    Under Slurm these are the GPUs of the job: none if it asked for none, whatever the node has.
    """
    if VISIBLE not in environ and "SLURM_JOB_ID" in environ:
        return []
    installed = _installed_gpus(environ)
    if VISIBLE not in environ or not installed:
        return installed
    found: list[Gpu] = []
    for token in environ[VISIBLE].split(","):
        gpu = _find(token.strip(), installed)
        if gpu is None or gpu.key in {other.key for other in found}:
            break  # CUDA, too, ignores everything after a name it does not know
        found.append(gpu)
    return found


def _installed_gpus(environ: Mapping[str, str]) -> list[Gpu]:
    if pretended := environ.get(PRETENDED):
        return [Gpu(str(i), f"pretended-{i}", name="pretended") for i in range(int(pretended))]
    try:
        listed = subprocess.run(QUERY, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ", 3) for line in listed.stdout.splitlines() if line.count(", ") >= 3]
    return [
        Gpu(index, uuid, int(used) if used.isdigit() else 0, name)
        for index, uuid, used, name in rows
    ]


def _find(token: str, installed: Sequence[Gpu]) -> Gpu | None:
    """The GPU that one item of CUDA_VISIBLE_DEVICES names, by number or by the start of a UUID."""
    if token.startswith("MIG-"):
        return Gpu(token, token)
    for gpu in installed:
        if gpu.token == token or (token.startswith("GPU-") and gpu.key.startswith(token)):
            return replace(gpu, token=token)
    return None


def take_gpus(stage: str, count: int = 1) -> None:
    """Take `count` GPUs for this process, waiting for them if necessary; call before torch loads.

    A process whose GPUs `python -m gcrm.gpus` has taken only locks them too, because torchrun's
    processes may outlive torchrun. Processes that torchrun started otherwise share what they see.

    Args:
        stage: for messages.
        count: 0 hides all GPUs. On a machine without GPUs nothing is done, and the CPU is used.

    Raises:
        UserError: the machine has GPUs, but fewer than `count`, or they cannot be locked.
    """
    if HELD in os.environ:
        for path in filter(None, os.environ[HELD].split(os.pathsep)):
            fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)
        logging.getLogger("gcrm").info("%s: GPUs: %s", stage, os.environ.get(VISIBLE) or "none")
        return
    gpus = [] if "RANK" in os.environ else visible_gpus()
    if not gpus:
        return  # GPUs that nvidia-smi does not list are used as they are
    wanted = "a GPU" if count == 1 else f"{count} GPUs"
    if count > len(gpus):
        raise UserError(
            f"{wanted} asked for, and {len(gpus)} here; ask for fewer: in a run, gpus.{stage} in "
            "the config"
        )
    started, waits = time.monotonic(), False
    while (taken := _try_to_take(count, gpus)) is None:
        if not waits:
            say(f"{stage}: waiting for {wanted} of {', '.join(g.described() for g in gpus)}")
            waits = True
        # Two jobs must not hinder each other again and again.
        time.sleep(SECONDS_BETWEEN_TRIES * random.uniform(1, 2))
    if taken:
        after = f", after {time.monotonic() - started:.0f} s of waiting" if waits else ""
        say(f"{stage}: on GPU {', '.join(gpu.token for gpu in taken)}{after}")
    os.environ[VISIBLE] = ",".join(gpu.token for gpu in taken)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order of nvidia-smi
    os.environ[HELD] = os.pathsep.join(str(gpu.lock_file) for gpu in taken)


def _try_to_take(count: int, gpus: Sequence[Gpu]) -> list[Gpu] | None:
    """Lock `count` of the GPUs that are free, those with the most free memory first; else none."""
    locks: dict[Gpu, FileLock] = {}
    for gpu in sorted(gpus, key=lambda gpu: gpu.used):
        if len(locks) == count:
            break
        lock = FileLock(
            gpu.lock_file,
            mode=0o666,  # for all users, whatever the umask
            blocking=False,
            fallback_to_soft=False,
            on_acquired=_share,
        )
        try:
            lock.acquire()
        except (Timeout, BlockingIOError):
            continue
        except OSError as error:
            raise UserError(
                f"{lock.lock_file}: cannot be locked ({error.strerror}); name a folder of your own "
                f"in {FOLDER}"
            ) from None
        locks[gpu] = lock
    if len(locks) < count:
        for lock in locks.values():
            lock.release()
        return None
    _held.extend(locks.values())
    return [gpu for gpu in gpus if gpu in locks]


def _share(lock: int) -> None:
    """Name this process in the file of a lock, and let the other processes of its job lock it too.

    An exclusive lock shows that no job has the GPU; a shared one keeps it. In between another job
    can take it, which raises BlockingIOError.
    """
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} of {os.environ.get('USER', os.getuid())}\n".encode(), 0)
    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.set_inheritable(lock, True)  # a program that replaces this process (exec) keeps its GPUs


def _folder() -> Path:
    if named := os.environ.get(FOLDER):
        folder = Path(named)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(os.sep, "tmp", "gcrm-gpus")
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o1777)
    return folder
