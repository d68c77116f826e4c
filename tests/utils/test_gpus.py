"""Jobs share pretended GPUs: which one each sees, which waits, what kill -9 leaves behind."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from gcrm.config.loading import load
from gcrm.gpus import main
from gcrm.lineage.rules import Rules
from gcrm.utils import gpus
from gcrm.utils.errors import UserError
from gcrm.utils.gpus import Gpu, take_gpus, visible_gpus
from helpers.workflow_runs import SMALL, snakemake

# Says what it sees, and lasts until it is killed.
JOB = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(600)"
PATIENCE = 20.0
Start = Callable[..., "Job"]
Take = Callable[..., str | None]


class Job:
    """A process that wants GPUs, with its output so far."""

    def __init__(self, folder: Path, number: int, words: list[str]):
        self.out, self.err = folder / f"{number}.out", folder / f"{number}.err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(words, cwd=folder, stdout=out, stderr=err)

    def sees(self) -> str:
        """CUDA_VISIBLE_DEVICES, once it has its GPUs."""
        return self.until(lambda: self.out.read_text()).strip()

    def waits(self) -> str:
        """Its messages, once it waits."""
        return self.until(lambda: self.err.read_text() if self.err.stat().st_size else "")

    def until(self, found: Callable[[], str]) -> str:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if text := found():
                return text
            time.sleep(0.05)
        raise AssertionError(f"nothing after {PATIENCE} s; messages: {self.err.read_text()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(autouse=True)
def locks(tmp_path: Path) -> Iterator[Path]:
    """A folder of locks for this test, and the environment and locks as before after it."""
    before = dict(os.environ)
    for name in ("CUDA_VISIBLE_DEVICES", "RANK", "GCRM_HELD_GPUS", "SLURM_JOB_ID"):
        os.environ.pop(name, None)
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    os.environ["GCRM_GPU_FOLDER"] = str(tmp_path / "locks")
    os.environ["GCRM_PRETENDED_GPUS"] = "2"
    yield tmp_path / "locks"
    os.environ.clear()
    os.environ.update(before)
    while gpus._held:
        gpus._held.pop().release()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    jobs: list[Job] = []

    def start(count: int, script: str = JOB) -> Job:
        words = [sys.executable, "-m", "gcrm.gpus", str(count), sys.executable, "-c", script]
        jobs.append(Job(tmp_path, len(jobs), words))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()


@pytest.fixture
def take() -> Take:
    def take(count: int, **settings: str) -> str | None:
        """CUDA_VISIBLE_DEVICES of a job that takes GPUs and keeps them to the end of the test."""
        for name in ("CUDA_VISIBLE_DEVICES", "GCRM_HELD_GPUS"):
            os.environ.pop(name, None)
        os.environ.update(settings)
        take_gpus("train", count)
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    return take


def test_jobs_wait_until_enough_gpus_are_free(start: Start) -> None:
    first, second = start(1), start(1)
    assert {first.sees(), second.sees()} == {"0", "1"}
    both = start(2)
    said = both.waits()
    assert said.count("\n") == 1 and "waiting for 2 GPUs of 0 (process " in said
    assert str(first.process.pid) in said and str(second.process.pid) in said
    first.kill()  # kill -9
    one = start(1)  # need not wait for the job that wants both
    assert one.sees() == first.sees()
    assert both.out.read_text() == ""
    one.kill()
    second.kill()
    assert both.sees() == "0,1"
    assert "of waiting" in both.err.read_text()


def test_processes_that_outlive_a_killed_launcher_keep_its_gpu(start: Start) -> None:
    """As those of torchrun, which do not inherit its open files."""
    os.environ["GCRM_PRETENDED_GPUS"] = "1"
    worker = (
        "import os, sys, time; from gcrm.utils.gpus import take_gpus; take_gpus('train');"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.getpid(), flush=True); time.sleep(600)"
    )
    launcher = start(
        1,
        script=f"import subprocess, sys; subprocess.run([sys.executable,"
        f" '-c', {worker!r}], env={{**__import__('os').environ, 'RANK': '0'}})",
    )
    device, pid = launcher.sees().split()
    assert device == "0"
    launcher.kill()
    after = start(1)
    after.waits()
    time.sleep(1)
    assert after.out.read_text() == ""
    os.kill(int(pid), signal.SIGKILL)
    assert after.sees() == "0"


def test_every_job_has_other_gpus(take: Take) -> None:
    assert take(2, GCRM_PRETENDED_GPUS="3") == "0,1"
    assert take(1) == "2"
    with pytest.raises(
        UserError, match=r"4 GPUs asked for, and 3 here; .* gpus\.train in the conf"
    ):
        take(4)


def test_gpus_are_taken_from_those_that_are_visible(take: Take) -> None:
    """Set by the user, or by Slurm for its allocation."""
    os.environ["GCRM_PRETENDED_GPUS"] = "4"
    assert take(2, CUDA_VISIBLE_DEVICES="3,1", SLURM_JOB_ID="7") == "3,1"
    assert take(1, CUDA_VISIBLE_DEVICES="1,2") == "2"


def test_torchrun_processes_share_the_visible_gpus(take: Take) -> None:
    assert take(2) == "0,1"
    assert take(2, CUDA_VISIBLE_DEVICES="0,1", RANK="1") == "0,1"


def test_a_job_without_gpus(take: Take) -> None:
    assert take(0) == ""
    assert take(8, GCRM_PRETENDED_GPUS="0") is None  # on the CPU


def test_another_user_can_lock_the_same_files(take: Take, locks: Path) -> None:
    mask = os.umask(0o077)
    take(1)
    os.umask(mask)
    assert stat.S_IMODE((locks / "pretended-0.lock").stat().st_mode) == 0o666


def test_links_in_the_folder_of_locks_are_not_followed(take: Take, locks: Path) -> None:
    locks.mkdir()
    (locks / "pretended-0.lock").symlink_to(locks / "thesis.txt")
    (locks / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"pretended-0.lock: cannot be locked .* GCRM_GPU_FOLDER"):
        take(1)
    assert (locks / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["1", "no-such-program"], 127, "gpus: error: no-such-program: No such file"),
        (["many", "x"], 1, "gpus: error: usage: "),
        ([], 1, "gpus: error: usage: "),
        (["3", "python", "-m", "gcrm.train"], 1, "gpus: error: 3 GPUs asked for"),
    ],
)
def test_wrong_commands(
    capsys: pytest.CaptureFixture[str], words: list[str], status: int, message: str
) -> None:
    assert main(words) == status
    assert capsys.readouterr().err.splitlines()[-1].startswith(message)


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m gcrm.gpus COUNT COMMAND" in capsys.readouterr().out


# --- nvidia-smi ---------------------------------------------------------------------------------

LISTED = """\
0, GPU-aaaa-1, 900, NVIDIA A100-SXM4-80GB
1, GPU-bbbb-2, 0, NVIDIA A100-SXM4-80GB
2, GPU-cccc-3, [N/A], NVIDIA A100-SXM4-80GB
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("GCRM_PRETENDED_GPUS")
    return program


@pytest.mark.parametrize(
    ("named", "tokens", "keys"),
    [
        (None, ["0", "1", "2"], ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"]),
        ("2, 0", ["2", "0"], ["GPU-cccc-3", "GPU-aaaa-1"]),
        ("GPU-bb", ["GPU-bb"], ["GPU-bbbb-2"]),
        ("MIG-77", ["MIG-77"], ["MIG-77"]),
        ("1,-1,2", ["1"], ["GPU-bbbb-2"]),
        ("1,9,2", ["1"], ["GPU-bbbb-2"]),
        ("1,1", ["1"], ["GPU-bbbb-2"]),
        ("", [], []),
        ("NoDevFiles", [], []),
    ],
)
def test_visible_gpus_are_those_that_cuda_shows(
    nvidia_smi: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: str | None,
    tokens: list[str],
    keys: list[str],
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    found = visible_gpus()
    assert [gpu.token for gpu in found] == tokens
    assert [gpu.key for gpu in found] == keys


def test_a_slurm_job_without_gpus_sees_none(nvidia_smi: Path) -> None:
    assert visible_gpus({"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"}) == []
    assert len(visible_gpus({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "1"})) == 1


def test_no_gpus_where_nvidia_smi_fails(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho NVIDIA-SMI has failed, really; exit 9\n")
    assert visible_gpus() == []


def test_the_gpus_with_the_most_free_memory_come_first(nvidia_smi: Path, take: Take) -> None:
    """GPU 0 is in use by a program that takes no locks."""
    assert take(2) == "1,2"
    assert take(1) == "0"
    del os.environ["CUDA_VISIBLE_DEVICES"]
    assert visible_gpus()[0] == Gpu("0", "GPU-aaaa-1", 900, "NVIDIA A100-SXM4-80GB")


# --- in a run ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("reproducible", "by_itself"), [(True, 0), (False, 1)])
def test_jobs_of_a_run_take_the_gpus_of_the_config(reproducible: bool, by_itself: int) -> None:
    gpus = {"pretrain": 2, "train": 0}
    config = load(SMALL | {"gpus": gpus, "reproducible": reproducible}, "my.yaml")
    rules = Rules(config, gpus_here=2)
    for stage, count in (gpus | {"represent": by_itself}).items():
        launcher = rules.resources(stage, mem_mb=1, runtime=1)["launcher"]
        assert launcher == f"python -m gcrm.gpus {count} python"
        assert "exec {resources.launcher} -m gcrm." in rules.shell(stage)


STAND_IN = """
import os, sys, time
from gcrm.utils.gpus import take_gpus

take_gpus("evaluate")
begin = time.time()
time.sleep(0.5)
output = sys.argv[sys.argv.index("--output") + 1]
for name in (output, output + ".provenance.json"):
    open(name, "w").close()
with open("turns.txt", "a") as file:
    file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {begin} {time.time()}\\n")
"""


def test_a_run_uses_each_gpu_for_one_job_at_a_time(
    small_run: tuple[Path, str], tmp_path: Path
) -> None:
    """Six jobs, two GPUs, many cores, and no --resources."""
    project = Path(shutil.copytree(small_run[0], tmp_path / "project"))
    (project / "gcrm" / "evaluate.py").write_text(STAND_IN)
    words = ["--cores", "16", "--until", "evaluate"]
    locks = str(tmp_path / "locks")
    done = snakemake(project, *words, GCRM_PRETENDED_GPUS="2", GCRM_GPU_FOLDER=locks)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    turns = [line.split() for line in (project / "turns.txt").read_text().splitlines()]
    assert len(turns) == 6 and {gpu for gpu, _, _ in turns} == {"0", "1"}
    for gpu in "01":
        own = sorted((float(begin), float(end)) for one, begin, end in turns if one == gpu)
        assert all(before[1] <= after[0] for before, after in pairwise(own))
    assert "waiting for" not in said  # no job has a core while it waits
    assert said.count("evaluate: on GPU ") == 6
