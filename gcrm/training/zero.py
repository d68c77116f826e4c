"""DeepSpeed: what it needs from the environment before a training starts.

`gcrm.config.deepspeed` has the configurations.
"""

import os
import socket


def start_deepspeed(on_cpu: bool) -> None:
    """Let DeepSpeed meet the other processes, before it reads how many there are off a model."""
    _be_launched()
    import deepspeed

    if on_cpu:
        # Or it would compile an operation for it, which takes a compiler and more than a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo" if on_cpu else "nccl", verbose=False)


def _be_launched() -> None:
    """What DeepSpeed reads from the environment, for a command started without a launcher."""
    if "RANK" in os.environ:
        return
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
