"""Which GPUs of this machine a job takes: free ones, and no other job has them meanwhile.

    python -m gcrm.gpus 2 torchrun --standalone --nproc-per-node 2 -m gcrm.train …

takes two, waits for them if it must, and becomes the command behind it, which sees only these two
(CUDA_VISIBLE_DEVICES). A stage that is started without it takes one for itself. A GPU is taken by a
lock on a file that its process holds open: the kernel frees it when the process ends in any way.
The files are in one folder of the machine, since all runs of all users share its GPUs. Nothing here
imports torch, which would not heed what is chosen afterwards.
"""

import fcntl
import logging
import os
import pwd
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gcrm.utils.errors import UserError
from gcrm.utils.logging import say
from gcrm.utils.visible_gpus import VISIBLE, Gpu, visible

FOLDER = "GCRM_GPU_FOLDER"
"""variable with another folder for the locks, as for containers that share GPUs but no /tmp"""
HELD = "GCRM_HELD_GPUS"
"""variable by which a job knows the locks that it was started with"""
SECONDS_BETWEEN_TRIES = 0.5
SECONDS_OF_A_TURN = 1.0
"""Within it, a job that finds free GPUs has taken them: who is behind it does not really wait."""

_held: list[int] = []
"""descriptors of the locks of this process; they must stay open"""


def use(what: str, count: int = 1) -> None:
    """Take `count` of the GPUs for this process, before it imports torch, and wait for them.

    Does nothing in a process that was given its GPUs by `python -m gcrm.gpus`, except that it holds
    their locks, too: torchrun's processes may outlive the torchrun that took them.

    Args:
        what: the stage, for messages.
        count: 0 hides all GPUs. Where there are none, the CPU is used, and nothing is done here.

    Raises:
        UserError: there are GPUs, but not as many.
    """
    if HELD in os.environ:
        for path in filter(None, os.environ[HELD].split(os.pathsep)):
            lock = _open(Path(path))
            fcntl.flock(lock, fcntl.LOCK_SH)
            _held.append(lock)
        logging.getLogger("gcrm").info("%s: GPUs: %s", what, os.environ.get(VISIBLE) or "none")
        return
    if "RANK" in os.environ:  # torchrun started this, and its processes share what they see
        return
    gpus = visible()
    if count > len(gpus) > 0:
        raise UserError(
            f"{_gpus(count)} asked for, and {len(gpus)} here; ask for fewer: in a run, "
            f"gpus.{what} in the config"
        )
    if not gpus:
        return  # GPUs of a kind that is not known here are used as they are
    taken = _take(what, count, gpus) if count else {}
    _held.extend(taken.values())
    os.environ[VISIBLE] = ",".join(gpu.token for gpu in taken)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order of nvidia-smi
    os.environ[HELD] = os.pathsep.join(str(_path(gpu)) for gpu in taken)


def _take(what: str, count: int, gpus: Sequence[Gpu]) -> dict[Gpu, int]:
    """The locks of `count` GPUs, waiting for them in turn: who asks for many is not overtaken."""
    started = time.monotonic()
    turn = _open(_folder() / "turn.lock")
    while not _locked(turn):
        if time.monotonic() - started > SECONDS_OF_A_TURN:  # else a job that takes free ones
            say(f"{what}: waiting for {_gpus(count)}, behind another job that waits")
            fcntl.flock(turn, fcntl.LOCK_EX)
            break
        time.sleep(SECONDS_BETWEEN_TRIES / 10)
    told = False
    while (taken := _try(count, gpus)) is None:
        if not told:
            say(f"{what}: waiting for {_gpus(count)} of {', '.join(map(_holder, gpus))}")
            told = True
        time.sleep(SECONDS_BETWEEN_TRIES)
    os.close(turn)
    waited = time.monotonic() - started
    behind = f", after {waited:.0f} s of waiting" if waited >= 1 else ""
    say(f"{what}: on GPU {', '.join(gpu.token for gpu in taken)}{behind}")
    return taken


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try(count: int, gpus: Sequence[Gpu]) -> dict[Gpu, int] | None:
    """The locks of `count` GPUs of those that are free now, the emptiest first; None: too few.

    Only who has the turn is here. An exclusive lock shows that nobody has the GPU. It is kept as a
    shared one, so that the processes of the job can hold it together.
    """
    free: dict[Gpu, int] = {}
    for gpu in sorted(gpus, key=lambda gpu: gpu.used):
        lock = _open(_path(gpu))
        if not _locked(lock):
            os.close(lock)
            continue
        if os.fstat(lock).st_nlink == 0:  # removed between opening and locking: it locks nothing
            os.close(lock)
            continue
        free[gpu] = lock
    enough = len(free) >= count
    taken = [gpu for gpu in gpus if gpu in list(free)[:count]] if enough else []
    for gpu, lock in free.items():
        if gpu not in taken:
            os.close(lock)
    for gpu in taken:
        os.ftruncate(free[gpu], 0)
        os.pwrite(free[gpu], f"process {os.getpid()} of {_user()}\n".encode(), 0)
        fcntl.flock(free[gpu], fcntl.LOCK_SH)
    return {gpu: free[gpu] for gpu in taken} if enough else None


def _open(path: Path) -> int:
    """The file of a lock, made if need be."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            lock = os.open(path, flags | os.O_CREAT, 0o666)
            os.fchmod(lock, 0o666)  # whatever the umask: other users lock it, too
            return lock
    except OSError as error:
        raise UserError(
            f"{path}: cannot be locked ({error.strerror}); name a folder of your own in {FOLDER}"
        ) from None


def _folder() -> Path:
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else Path(os.sep, "tmp", "gcrm-gpus")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if not named:
            folder.chmod(0o1777)
    return folder


def _path(gpu: Gpu) -> Path:
    return _folder() / f"{re.sub(r'[^A-Za-z0-9.-]', '_', gpu.key)}.lock"


def _holder(gpu: Gpu) -> str:
    holder = _path(gpu).read_text(encoding="utf-8", errors="replace").strip()
    return f"{gpu.token} ({holder[:80]})"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers know no name for many a number
        return str(os.getuid())


def _gpus(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"


def _stage(command: Sequence[str]) -> str:
    """What a command runs: of `python -m gcrm.train …`, train."""
    modules = [word.removeprefix("gcrm.") for word in command if word.startswith("gcrm.")]
    return modules[0] if modules else Path(command[0]).name


def main(words: Sequence[str]) -> int:
    """`COUNT COMMAND…`: take the GPUs, and become the command."""
    try:
        if len(words) < 2 or not words[0].isdecimal():
            raise UserError("usage: python -m gcrm.gpus COUNT COMMAND…, COUNT a number")
        use(_stage(words[1:]), int(words[0]))
        for lock in _held:
            os.set_inheritable(lock, True)
        os.execvp(words[1], list(words[1:]))
    except UserError as error:
        say(f"gpus: error: {error}")
        return 1
    except OSError as error:
        say(f"gpus: error: {words[1]}: {error.strerror}")
        return 127
    except KeyboardInterrupt:
        say("gpus: interrupted")
        return 130


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
