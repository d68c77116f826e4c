"""What starts a job's processes, and what a job asks a cluster for."""

import os
import stat
import subprocess

import pytest

from gcrm.config.jobs import Job


def test_one_process_is_plain_python():
    job = Job(threads=3)
    assert job.command() == "python"
    assert job.resources(mem_mb=100) == {
        "launcher": "python -m gcrm.gpus 1 python",
        "nodes": 1,
        "mem_mb": 100,
        "gpu": 0,
    }
    assert (job.cores, list(job.mistakes())) == (3, [])


def test_several_processes_on_a_node_are_torchruns():
    job = Job(processes=4, threads=2, gpus=4)
    assert job.command().endswith(" torchrun --nproc-per-node 4 --standalone")
    assert job.cores == 8
    asked = job.resources(mem_mb=100)
    # `mpi` and `tasks` would make the plugin start it four times.
    launcher = f"python -m gcrm.gpus 4 {job.command()}"
    assert asked == {"launcher": launcher, "nodes": 1, "mem_mb": 400, "gpu": 4}


def test_gpus_are_taken_where_there_are_some() -> None:
    """On one machine; several nodes are a job's own."""
    assert Job().resources(100, gpus_here=4)["gpu"] == 1
    assert Job(processes=2).resources(100, gpus_here=4)["gpu"] == 2
    assert Job(processes=2).resources(100, gpus_here=1)["gpu"] == 1
    assert Job(gpus=0).resources(100, gpus_here=4)["gpu"] == 0
    assert Job(gpus=0).launcher() == "python -m gcrm.gpus 0 python"
    assert Job(processes=2).launcher().startswith("python -m gcrm.gpus 2 env ")
    several = Job(processes=4, nodes=2, gpus=4)
    assert several.launcher() == several.command()


def test_on_several_nodes_srun_starts_one_torchrun_on_each():
    job = Job(processes=4, nodes=2, threads=3, gpus=4)
    asked = job.resources(mem_mb=100)
    assert asked | {"launcher": ""} == {
        "launcher": "",
        "nodes": 2,
        "mem_mb": 200,  # of a node
        "gpu": 4,  # of the job
        "gres": "gpu:2",  # of a node
        "mpi": "srun",
        "tasks": 2,
        "tasks_per_gpu": 0,
        "cpus_per_task": 6,
    }
    assert "gres" not in Job(processes=4, nodes=2).resources(mem_mb=100)


def test_each_node_is_told_its_number_and_the_first_ones_address(tmp_path):
    """srun and torchrun are played by programs that print what they are given."""
    for name, text in {
        "srun": 'echo srun "${@:1:9}" >> "$OUT"\nshift 9; exec "$@"',
        "torchrun": 'printf "%s\\n" torchrun "$TORCH_ELASTIC_SHUTDOWN_TIMEOUT" "$@" >> "$OUT"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    out = tmp_path / "out"
    job = Job(processes=4, nodes=2, threads=3)
    subprocess.run(
        ["bash", "-euc", f"exec {job.command()} -m gcrm.train --save_path 'a b'"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "OUT": str(out),
            "SLURM_NODEID": "1",
            "SLURM_JOB_ID": "7000123",
            "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.9",
        },
        check=True,
    )
    srun, *torchrun = out.read_text().splitlines()
    assert (
        srun == "srun --nodes 2 --ntasks 2 --ntasks-per-node 1 --cpus-per-task 6 --kill-on-bad-exit"
    )
    options = ["--nproc-per-node", "2", "--nnodes", "2", "--node-rank", "1"]
    options += ["--master-addr", "10.0.0.9", "--master-port", "20123"]
    assert torchrun == ["torchrun", "3600", *options, "-m", "gcrm.train", "--save_path", "a b"]


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Job(processes=2, gpus=4), "2 processes do not go with 4 GPUs"),
        (Job(processes=3, nodes=2), "3 processes cannot be spread equally over 2 nodes"),
        (Job(processes=1, nodes=2), "1 processes cannot be spread equally over 2 nodes"),
    ],
)
def test_what_does_not_go_together_is_told(job, message):
    assert [mistake for mistake in job.mistakes() if message in mistake]
