"""Which GPUs are visible to a process, and taking some of them so that no other job uses them.

A GPU is taken by a lock on a file that the process holds open, so the kernel frees it however the
process ends. The files are in one folder of the machine, because all runs of all users share its
GPUs. A second lock, the queue, lets one job choose at a time: a job that needs many GPUs is not
overtaken by jobs that need one. Nothing here imports torch, which reads CUDA_VISIBLE_DEVICES once.
"""

import fcntl
import logging
import os
import pwd
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

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
SECONDS_TO_CHOOSE = 1.0
"""A job that finds enough free GPUs leaves the queue within this time."""

_locks: list[int] = []
"""open descriptors of the locks of this process; closing one frees its GPU"""


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
        UserError: the machine has GPUs, but fewer than `count`.
    """
    if HELD in os.environ:
        for path in filter(None, os.environ[HELD].split(os.pathsep)):
            _locks.append(_open(Path(path)))
            fcntl.flock(_locks[-1], fcntl.LOCK_SH)
        logging.getLogger("gcrm").info("%s: GPUs: %s", stage, os.environ.get(VISIBLE) or "none")
        return
    if "RANK" in os.environ:
        return
    gpus = visible_gpus()
    if count > len(gpus) > 0:
        raise UserError(
            f"{_number_of_gpus(count)} asked for, and {len(gpus)} here; ask for fewer: in a run, "
            f"gpus.{stage} in the config"
        )
    if not gpus:
        return  # GPUs that nvidia-smi does not list are used as they are
    taken = _wait_for(stage, count, gpus) if count else []
    os.environ[VISIBLE] = ",".join(gpu.token for gpu in taken)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order of nvidia-smi
    os.environ[HELD] = os.pathsep.join(str(gpu.lock_file) for gpu in taken)


def inherit_gpus() -> None:
    """Let the program that replaces this process (exec) keep its GPUs."""
    for lock in _locks:
        os.set_inheritable(lock, True)


def _wait_for(stage: str, count: int, gpus: Sequence[Gpu]) -> list[Gpu]:
    started = time.monotonic()
    wanted = _number_of_gpus(count)
    with _queue(stage, wanted):
        said = False
        while not (taken := _try_to_take(count, gpus)):
            if not said:
                say(f"{stage}: waiting for {wanted} of {', '.join(g.described() for g in gpus)}")
                said = True
            time.sleep(SECONDS_BETWEEN_TRIES)
    waited = time.monotonic() - started
    after = f", after {waited:.0f} s of waiting" if waited >= 1 else ""
    say(f"{stage}: on GPU {', '.join(gpu.token for gpu in taken)}{after}")
    return taken


def _queue(stage: str, wanted: str) -> AbstractContextManager[object]:
    """Wait until this is the job that chooses; leaving the context lets the next one choose."""
    lock = FileLock(_folder() / "queue.lock", mode=0o666, fallback_to_soft=False)
    try:
        try:
            return lock.acquire(timeout=SECONDS_TO_CHOOSE)
        except Timeout:
            say(f"{stage}: waiting for {wanted}, behind another job in the queue")
            return lock.acquire()
    except OSError as error:
        raise _cannot_lock(Path(lock.lock_file), error) from None


def _try_to_take(count: int, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Lock `count` of the GPUs that are free, those with the most free memory first; else none.

    The exclusive lock shows that no job has the GPU; it becomes a shared one, which all processes
    of this job can hold. The queue keeps others from taking the GPU in between.
    """
    free: dict[Gpu, int] = {}
    for gpu in sorted(gpus, key=lambda gpu: gpu.used):
        lock = _open(gpu.lock_file)
        if len(free) < count and lock_descriptor(lock, blocking=False) and os.fstat(lock).st_nlink:
            free[gpu] = lock
        else:  # enough, taken, or a file that a cleaner has removed since it was opened
            os.close(lock)
    if len(free) < count:
        for lock in free.values():
            os.close(lock)
        return []
    for lock in free.values():
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} of {_user()}\n".encode(), 0)
        fcntl.flock(lock, fcntl.LOCK_SH)
    _locks.extend(free.values())
    return [gpu for gpu in gpus if gpu in free]


def _open(path: Path) -> int:
    """Open the file of a lock; a new one is for all users, whatever the umask."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            lock = os.open(path, flags | os.O_CREAT, 0o666)
            os.fchmod(lock, 0o666)
            return lock
    except OSError as error:
        raise _cannot_lock(path, error) from None


def _cannot_lock(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be locked ({error.strerror}); name a folder of your own in {FOLDER}"
    )


def _folder() -> Path:
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else Path(os.sep, "tmp", "gcrm-gpus")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if not named:
            folder.chmod(0o1777)
    return folder


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers may have no name for the number
        return str(os.getuid())


def _number_of_gpus(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"
