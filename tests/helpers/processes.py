"""Other processes, as tests see them: any of them may end between two looks."""

import psutil


def is_running(process: int) -> bool:
    """A zombie, whose parent has not asked for it yet, is not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
