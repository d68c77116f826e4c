"""A stage ends when the Snakemake that started it is gone, however it went (kill -9, say).

Or it would go on writing beside the jobs of the next run. It is told by SIGTERM, on which a
training saves a checkpoint. The Snakefile names the process in an environment variable; a stage
that was started by hand outlives its shell, as `nohup` asks for.
"""

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator

VARIABLE = "GCRM_SNAKEMAKE"


def this_process() -> str:
    """The value of the variable for the stages that this process starts."""
    return f"{socket.gethostname()}:{os.getpid()}"


def end_with_snakemake() -> None:
    """From now on send SIGTERM to this process when the one that is in charge of it ends.

    Does nothing where there is none, or the system cannot say (only Linux can).
    """
    for process in _in_charge():
        with contextlib.suppress(OSError, AttributeError):
            _watch(process)


def _in_charge() -> Iterator[int]:
    """Snakemake, if it is on this machine, and torchrun."""
    host, _, process = os.environ.get(VARIABLE, "").rpartition(":")
    if host == socket.gethostname() and process.isdecimal():
        yield int(process)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        yield os.getppid()


def _watch(process: int) -> None:
    try:
        # A handle on the process, not its number, which another one may get.
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
    os.write(2, b"Snakemake is gone: this job of it stops\n")
    os.kill(os.getpid(), signal.SIGTERM)
