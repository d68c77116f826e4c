"""What a job of each stage takes: threads, processes, GPUs, nodes; and how it is started.

Several processes are started by torchrun, on one node or on several, within what the job was
allocated. No host files: Slurm tells each node its number and the address of the first node.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Gpus = Annotated[int, Field(ge=0)]
Computing = Literal[
    "pretrain", "sample", "train", "represent", "evaluate", "goals", "generate", "policy"
]
COMPUTING: tuple[Computing, ...] = get_args(Computing)
"""stages that compute with torch"""
Parallel = Literal["train", "represent", "evaluate", "goals"]
PARALLEL: tuple[Parallel, ...] = get_args(Parallel)
"""stages whose jobs may have several processes"""
FIRST_PORT, PORTS = 20_000, 10_000
"""range of ports for the first node of a job; the job's number picks one, so that jobs can share a
node"""
PATIENCE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT=3600"
"""time that torchrun leaves its processes after SIGTERM; its default of 30 s is too short to save a
large model, and the cluster limits the job's time anyway"""


@dataclass(frozen=True)
class Job:
    """What a job of a stage takes.

    Attributes:
        processes: over all nodes. nodes: of a cluster. threads: of each process.
        gpus: over all nodes; 0, or one for each process. None means one for each process on a
            machine that has any, and none on a cluster.
    """

    processes: int = 1
    nodes: int = 1
    threads: int = 1
    gpus: int | None = None

    @property
    def per_node(self) -> int:
        """Processes on each node."""
        return self.processes // self.nodes

    @property
    def cores(self) -> int:
        """CPU cores of the whole job."""
        return self.processes * self.threads

    def mistakes(self) -> Iterable[str]:
        """Contradictions, in words."""
        if self.gpus and self.gpus != self.processes:
            yield (
                f"{self.processes} processes do not go with {self.gpus} GPUs, since each process "
                "uses one; leave `processes` out, or give as many"
            )
        if self.processes % self.nodes:
            yield f"{self.processes} processes cannot be spread equally over {self.nodes} nodes"

    def launcher(self) -> str:
        """The words of a command that take the job's GPUs and start its processes.

        On several nodes no GPUs are taken: the nodes are allocated to the job alone.
        """
        if self.nodes > 1:
            return self.command()
        gpus = self.processes if self.gpus is None else self.gpus
        return f"python -m gcrm.gpus {gpus} {self.command()}"

    def command(self) -> str:
        """The words before `-m gcrm.<stage>`; on several nodes srun runs one torchrun on each."""
        if self.processes == 1:
            return "python"
        torchrun = f"env {PATIENCE} torchrun --nproc-per-node {self.per_node}"
        if self.nodes == 1:
            return f"{torchrun} --standalone"
        on_each = (
            f"exec {torchrun} --nnodes {self.nodes} --node-rank $SLURM_NODEID "
            "--master-addr $SLURM_LAUNCH_NODE_IPADDR "
            f'--master-port $(({FIRST_PORT} + SLURM_JOB_ID % {PORTS})) "$@"'
        )
        return (
            f"srun --nodes {self.nodes} --ntasks {self.nodes} --ntasks-per-node 1 "
            f"--cpus-per-task {self.threads * self.per_node} --kill-on-bad-exit "
            f"bash -c {shlex.quote(on_each)} torchrun"
        )

    def resources(self, mem_mb: int, gpus_here: int = 0) -> dict[str, Any]:
        """The resources of a rule, as snakemake-executor-plugin-slurm names them.

        Args:
            mem_mb: memory of one process.
            gpus_here: GPUs of the machine that runs all jobs; 0 for a cluster.
        """
        asked: dict[str, Any] = {
            "launcher": self.launcher(),
            "nodes": self.nodes,
            "mem_mb": mem_mb * self.per_node,
            "gpu": min(self.processes, gpus_here) if self.gpus is None else self.gpus,
        }
        if self.nodes > 1:
            # `mpi` lets the job call srun itself; tasks are srun's, not one for each GPU.
            asked |= {"mpi": "srun", "tasks": self.nodes, "tasks_per_gpu": 0}
            asked["cpus_per_task"] = self.threads * self.per_node
            if self.gpus:
                asked["gres"] = f"gpu:{self.per_node}"  # the total alone may be split unequally
        return asked
