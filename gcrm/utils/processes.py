"""A stage ends when the Snakemake that started it is gone, however it ended (kill -9, for example).

Otherwise the stage would go on writing beside the jobs of the next run. It gets SIGTERM, on which
a training saves a checkpoint. The Snakefile names its process in an environment variable; a stage
started by hand outlives its shell, as `nohup` asks for.
"""

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator

VARIABLE = "GCRM_SNAKEMAKE"


def end_stages_with_this_process() -> None:
    """Let the stages that this process starts from now on end when it does."""
    os.environ[VARIABLE] = f"{socket.gethostname()}:{os.getpid()}"


def end_with_snakemake() -> None:
    """From now on, send SIGTERM to this process when its Snakemake or its torchrun ends.

    Does nothing where there is neither, or where the system cannot watch processes (not Linux).
    """
    for process in _starters():
        with contextlib.suppress(OSError, AttributeError):
            _watch(process)


def _starters() -> Iterator[int]:
    """Snakemake, if it runs on this machine, and torchrun."""
    host, _, process = os.environ.get(VARIABLE, "").rpartition(":")
    if host == socket.gethostname() and process.isdecimal():
        yield int(process)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        yield os.getppid()


def _watch(process: int) -> None:
    try:
        # A handle stays with its process; its number may be given to another one.
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        _end()
        return
    threading.Thread(target=_wait, args=(handle,), daemon=True).start()


def _wait(handle: int) -> None:
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    ended.poll()
    _end()


def _end() -> None:
    os.write(2, b"Snakemake is gone: this job ends\n")
    os.kill(os.getpid(), signal.SIGTERM)
