"""A Slurm of two nodes with pretended GPUs on this machine, without systemd, for tests.

Configuration, key, state and logs are in a folder of its own; nothing of the host is read or
changed, and nothing is stopped that was not started here.
"""

import getpass
import os
import shutil
import socket
import string
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

TEMPLATE = Path(__file__).parent / "slurm.conf"
OF_A_CLUSTER = ("etc/slurm/slurm.conf", "etc/slurm-llnl/slurm.conf", "etc/munge/munge.key")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class HostInUse(RuntimeError):
    """The host belongs to a cluster."""


def check_host(root: Path = Path("/")) -> None:
    """See that the host has neither a Slurm configuration nor a munge key.

    Raises:
        HostInUse: it has; no test has any business there.
    """
    found = [str(root / name) for name in OF_A_CLUSTER if _may_exist(root / name)]
    if found or "SLURM_CONF" in os.environ:
        raise HostInUse(
            f"{', '.join(found) or 'SLURM_CONF'} is there: this host belongs to a Slurm cluster, "
            "and the tests start none beside it"
        )


def _may_exist(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # a folder of munge's that nobody else may look into
        return True


class Cluster:
    """munged, slurmctld and two slurmd, from `start` to `stop`.

    Attributes:
        environment: what a command needs to talk to this cluster.
    """

    def __init__(self) -> None:
        check_host()
        # Not below the test's folder: munged wants others to reach its socket, whose path is short.
        self.folder = Path(tempfile.mkdtemp(prefix="gcrm-slurm-", dir="/tmp"))
        self.environment = {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{PATH}",
        }
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._users: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the daemons, and wait until both nodes take jobs."""
        self._configure()
        key, socket_file = self.folder / "munge.key", self.folder / "munge.socket"
        named = {"key-file": key, "socket": socket_file}
        named |= {f"{name}-file": self.folder / f"munged.{name}" for name in ("pid", "log", "seed")}
        options = [f"--{name}={path}" for name, path in named.items()]
        self._daemon("munged", "--foreground", "--force", *options)
        self._wait(socket_file.exists, "munged")
        self._daemon("slurmctld", "-D", "-i")
        for node in ("n1", "n2"):
            self._start_node(node)
        self._wait(lambda: self._states() == ["idle", "idle"], "the nodes")

    def stop(self) -> None:
        """End what uses this cluster, its jobs, then the daemons, and remove the folder."""
        end(self._users)
        if self._states():
            self.run("scancel", "--state=PENDING", "--state=RUNNING", "--partition=main")
            deadline = time.monotonic() + 60
            while self.run("squeue", "--noheader").strip() and time.monotonic() < deadline:
                time.sleep(0.5)
        for daemon in reversed(self._daemons):
            end([daemon])
        shutil.rmtree(self.folder)

    def lose(self, node: str) -> list[int]:
        """Let a node be gone at once, as one without power: its daemon and the jobs on it.

        Returns:
            The processes of jobs that were killed.
        """
        daemon = self._nodes.pop(node)
        self._daemons.remove(daemon)
        daemon.kill()
        daemon.wait()
        jobs = [process for process in psutil.process_iter() if _works_on(process, node, self)]
        steps = [parent for job in jobs for parent in _above(job) if "slurmstepd" in parent.name()]
        for process in [*jobs, *steps]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        return [job.pid for job in jobs]

    def bring_back(self, node: str) -> None:
        """Start the daemon of a lost node again, and wait until both nodes take jobs."""
        self._start_node(node)
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self._wait(lambda: not [s for s in self._states() if "down" in s], "the nodes")

    def use(self, command: list[str], folder: Path, screen: Path) -> subprocess.Popen[bytes]:
        """Start a program that submits jobs from a folder; it ends with the cluster at the latest.

        Args:
            screen: gets what it prints.
        """
        environment = self.environment | {"HOME": str(folder), "HF_HUB_OFFLINE": "1"}
        self._start(self._users, command, environment, screen, folder)
        return self._users[-1]

    def run(self, *command: str) -> str:
        """What one of Slurm's commands prints; nothing if it fails."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        ).stdout

    def jobs(self) -> list[dict[str, str]]:
        """All jobs so far, oldest first, with the fields of `scontrol show job`."""
        lines = self.run("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in lines
            if line.startswith("JobId=")
        ]
        return sorted(jobs, key=lambda job: int(job["JobId"]))

    def _configure(self) -> None:
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        controller, node1, node2 = map(str, free_ports(3))
        text = string.Template(TEMPLATE.read_text()).substitute(
            user=getpass.getuser(),
            folder=str(self.folder),
            controller=controller,
            node1=node1,
            node2=node2,
        )
        (self.folder / "slurm.conf").write_text(text)
        # The plugin keeps SLURM_CONF, as most SLURM_*, from what a job starts: on a real cluster
        # srun finds its configuration in /etc, and here it is told.
        srun = self.folder / "bin" / "srun"
        srun.parent.mkdir()
        real = f"SLURM_CONF={self.folder}/slurm.conf exec {shutil.which('srun', path=PATH)}"
        srun.write_text(f'#!/bin/sh\n{real} "$@"\n')
        srun.chmod(0o755)
        devices = []
        for node in ("n1", "n2"):
            (self.folder / node).mkdir()
            for number in range(4):  # a GPU is a file here: Slurm counts them, no one opens them
                device = self.folder / f"{node}-gpu{number}"
                device.touch()
                devices.append(f"NodeName={node} Name=gpu File={device}\n")
        (self.folder / "gres.conf").write_text("".join(devices))

    def _start_node(self, node: str) -> None:
        self._daemon("slurmd", "-D", "-N", node)
        self._nodes[node] = self._daemons[-1]

    def _daemon(self, name: str, *options: str) -> None:
        log = self.folder / f"{name}-{len(self._daemons)}.out"
        command = [str(shutil.which(name, path=PATH)), *options]
        self._start(self._daemons, command, self.environment, log)

    def _start(
        self,
        kind: list[subprocess.Popen[bytes]],
        command: list[str],
        environment: dict[str, str],
        screen: Path,
        folder: Path | None = None,
    ) -> None:
        with screen.open("wb") as file:
            kind.append(
                subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                )
            )

    def _states(self) -> list[str]:
        return self.run("sinfo", "--noheader", "--Node", "--format=%T").split()

    def _wait(self, ready, what: str) -> None:
        deadline = time.monotonic() + 60
        while not ready():
            if time.monotonic() > deadline or any(d.poll() is not None for d in self._daemons):
                logs = [path.read_text()[-2000:] for path in self.folder.glob("*.[lo][ou][gt]")]
                raise RuntimeError("\n".join([f"{what} did not come up:", *logs]))
            time.sleep(0.2)


def _works_on(process: psutil.Process, node: str, cluster: Cluster) -> bool:
    """Whether a process is of a job on this node of this cluster."""
    try:
        found = process.environ()
    except psutil.Error:
        return False
    ours = found.get("SLURM_CONF") in (None, cluster.environment["SLURM_CONF"])
    return ours and found.get("SLURMD_NODENAME") == node


def _above(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.parents()
    except psutil.NoSuchProcess:
        return []


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that still run, by force where SIGTERM does not do it in half a minute."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
