"""A stage ends when the Snakemake that started it is gone, however it ended (kill -9, for example).

Otherwise the stage would go on writing beside the jobs of the next run. It gets SIGTERM, on which
a training saves a checkpoint. The Snakefile names its process in an environment variable; a stage
started by hand outlives its shell, as `nohup` asks for.
"""

import os
import select
import signal
import socket
import threading
from contextlib import suppress

VARIABLE = "GCRM_SNAKEMAKE"


def end_stages_with_this_process() -> None:
    """Let the stages that this process starts from now on end when it does."""
    os.environ[VARIABLE] = f"{socket.gethostname()}:{os.getpid()}"


def end_with_snakemake() -> None:
    """From now on, send SIGTERM to this process when its Snakemake or its torchrun ends.

    Does nothing where there is neither, or where the system cannot watch processes (not Linux).
    """
    host, _, process = os.environ.get(VARIABLE, "").rpartition(":")
    if host == socket.gethostname() and process.isdecimal():
        _end_with(int(process))
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_with(os.getppid())


def _end_with(process: int) -> None:
    def wait(handle: int) -> None:
        select.select([handle], [], [])
        end()

    def end() -> None:
        os.write(2, b"Snakemake is gone: this job ends\n")
        os.kill(os.getpid(), signal.SIGTERM)

    with suppress(OSError, AttributeError):
        try:
            # A handle stays with its process; its number may be given to another one.
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            end()
        else:
            threading.Thread(target=wait, args=(handle,), daemon=True).start()
