"""Real processes share pretended GPUs: who sees which, who waits, what kill -9 leaves behind."""

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
from gcrm.lineage.rules import Rules
from gcrm.utils.gpus import Gpu, visible_gpus
from helpers.workflow_runs import SMALL, snakemake

# Says what it sees, and lasts until it is told to end.
JOB = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); sys.stdin.read()"
PATIENCE = 20.0
Start = Callable[..., "Job"]


class Job:
    """A process that wants GPUs, with what it has said so far."""

    def __init__(self, folder: Path, number: int, words: list[str], environ: dict[str, str]):
        self.out, self.err = folder / f"{number}.out", folder / f"{number}.err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                words, env=environ, cwd=folder, stdin=subprocess.PIPE, stdout=out, stderr=err
            )

    def sees(self) -> str:
        """CUDA_VISIBLE_DEVICES, once it has what it wants."""
        return until(lambda: self.out.read_text(), self).strip()

    def waits(self) -> str:
        """What it says, once it says that it waits."""
        return until(
            lambda: self.err.read_text() if "waiting" in self.err.read_text() else "", self
        )

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0, self.err.read_text()


def until(found: Callable[[], str], job: Job) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if text := found():
            return text
        time.sleep(0.05)
    raise AssertionError(f"nothing after {PATIENCE} s; it said: {job.err.read_text()}")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Locks of the test's own, so that neither tests nor real jobs meet."""
    mine = {"PYTHONPATH": str(Path(__file__).parents[2]), "GCRM_GPU_FOLDER": str(tmp_path / "l")}
    left_out = ("CUDA_VISIBLE_DEVICES", "RANK", "GCRM_HELD_GPUS", "SLURM_JOB_ID")
    return {key: value for key, value in os.environ.items() if key not in left_out} | mine


@pytest.fixture
def start(tmp_path: Path, environ: dict[str, str]) -> Iterator[Start]:
    jobs: list[Job] = []

    def start(count: object, gpus: int = 2, script: str = JOB, **more: str) -> Job:
        words = [sys.executable, "-m", "gcrm.gpus", str(count), sys.executable, "-c", script]
        settings = environ | {"GCRM_PRETENDED_GPUS": str(gpus), **more}
        jobs.append(Job(tmp_path, len(jobs), words, settings))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.process.poll() is None:
            job.process.kill()
        job.process.wait()
        if job.process.stdin is not None:
            job.process.stdin.close()


def test_jobs_have_a_gpu_each_and_the_third_waits_until_one_is_killed(start: Start) -> None:
    first, second = start(1), start(1)
    assert {first.sees(), second.sees()} == {"0", "1"}
    third = start(1)
    said = third.waits()
    assert said.count("\n") == 1 and "waiting for a GPU" in said
    assert str(first.process.pid) in said and str(second.process.pid) in said
    assert third.out.read_text() == ""
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert third.sees() == first.sees()
    third.end()
    second.end()


def test_a_job_that_ends_frees_all_that_it_had(start: Start) -> None:
    both = start(2)
    assert both.sees() == "0,1"
    waiting = start(1)
    waiting.waits()
    both.end()
    assert waiting.sees() in ("0", "1")


def test_who_wants_many_is_not_overtaken_by_who_wants_one(start: Start) -> None:
    first = start(1)
    first.sees()
    many = start(2)
    many.waits()
    one = start(1)  # for which there would be one
    assert "behind another" in one.waits()
    time.sleep(1)
    assert one.out.read_text() == many.out.read_text() == ""
    first.end()
    assert many.sees() == "0,1"
    assert one.out.read_text() == ""
    many.end()
    assert one.sees() in ("0", "1")


def test_a_job_that_is_killed_while_it_waits_stops_nobody(start: Start) -> None:
    first, many = start(1), start(2)
    until(lambda: first.out.read_text() or many.out.read_text(), first)
    holder, waiting = (first, many) if first.out.read_text() else (many, first)
    third = start(1)
    waiting.waits()
    third.waits()
    waiting.process.kill()
    waiting.process.wait()
    holder.end()
    assert third.sees() in ("0", "1")


def test_processes_that_outlive_a_killed_launcher_keep_its_gpu(
    start: Start, tmp_path: Path
) -> None:
    """As torchrun's do, which do not inherit its open files."""
    worker = (
        "import os, sys, time; from gcrm.utils.gpus import take_gpus; take_gpus('train');"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.getpid(), flush=True); time.sleep(600)"
    )
    launcher = start(
        1,
        gpus=1,
        script=f"import subprocess, sys; subprocess.run([sys.executable,"
        f" '-c', {worker!r}], env={{**__import__('os').environ, 'RANK': '0'}})",
    )
    device, pid = launcher.sees().split()
    assert device == "0"
    launcher.process.kill()
    launcher.process.wait()
    after = start(1, gpus=1)
    after.waits()
    time.sleep(1)
    assert after.out.read_text() == ""
    os.kill(int(pid), signal.SIGKILL)
    assert after.sees() == "0"


def test_a_stage_started_by_hand_takes_one_too(start: Start) -> None:
    held = start(1)
    by_hand = start(
        0,
        script="import os; from gcrm.utils.gpus import take_gpus\n"
        "del os.environ['GCRM_HELD_GPUS'], os.environ['CUDA_VISIBLE_DEVICES']\n"
        f"take_gpus('train'); {JOB}",
    )
    assert {held.sees(), by_hand.sees()} == {"0", "1"}


def test_more_than_there_are_is_one_line(start: Start) -> None:
    job = start(3)
    assert job.process.wait(PATIENCE) == 1
    assert "3 GPUs asked for, and 2 here" in job.err.read_text()
    assert job.err.read_text().count("\n") == 1


def test_a_command_that_is_not_there_is_one_line(environ: dict[str, str]) -> None:
    words = [sys.executable, "-m", "gcrm.gpus"]
    for more, status in ([["1", "no-such-program"], 127], [["many", "x"], 1], [[], 1]):
        done = subprocess.run([*words, *more], env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1)


def test_without_gpus_nothing_is_chosen(start: Start) -> None:
    assert start(1, gpus=0).sees() == start(8, gpus=0).sees() == "None"


def test_none_at_all_hides_them(start: Start) -> None:
    job = start(0, script="import os; print([os.environ['CUDA_VISIBLE_DEVICES']])")
    assert job.sees() == "['']"


def test_what_is_visible_already_is_chosen_from(start: Start) -> None:
    """By the user, or by Slurm for its allocation."""
    allocation = {"CUDA_VISIBLE_DEVICES": "3,1", "SLURM_JOB_ID": "7"}
    whole = start(2, gpus=4, **allocation)
    assert whole.sees() == "3,1"
    other = start(2, gpus=4)
    assert other.sees() == "0,2"
    third = start(1, gpus=4, CUDA_VISIBLE_DEVICES="1")
    third.waits()
    whole.end()
    assert third.sees() == "1"


def test_another_user_can_lock_the_same_files(start: Start, environ: dict[str, str]) -> None:
    start(1).sees()
    files = list(Path(environ["GCRM_GPU_FOLDER"]).iterdir())
    assert {path.name for path in files} >= {"queue.lock", "pretended-0.lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666}


def test_a_link_laid_in_the_way_is_not_followed(
    start: Start, environ: dict[str, str], tmp_path: Path
) -> None:
    folder = Path(environ["GCRM_GPU_FOLDER"])
    folder.mkdir()
    mine = tmp_path / "thesis.txt"
    mine.write_text("mine")
    (folder / "pretended-0.lock").symlink_to(mine)
    job = start(1, gpus=1)
    assert job.process.wait(PATIENCE) == 1
    assert "pretended-0.lock: cannot be locked" in job.err.read_text()
    assert mine.read_text() == "mine"


def test_a_lock_that_a_cleaner_removed_is_made_anew(start: Start, environ: dict[str, str]) -> None:
    start(1).end()
    for path in Path(environ["GCRM_GPU_FOLDER"]).iterdir():
        path.unlink()
    assert start(2).sees() == "0,1"


# --- which GPUs there are ----------------------------------------------------------------------

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
    for name in ("CUDA_VISIBLE_DEVICES", "GCRM_PRETENDED_GPUS", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
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
def test_gpus_are_those_of_nvidia_smi_that_cuda_would_show(
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


def test_a_job_of_slurm_without_gpus_takes_none(nvidia_smi: Path) -> None:
    assert visible_gpus({"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"}) == []
    assert len(visible_gpus({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "1"})) == 1


def test_a_failing_nvidia_smi_is_no_gpu(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho NVIDIA-SMI has failed, really; exit 9\n")
    assert visible_gpus() == []


def test_the_emptiest_comes_first(nvidia_smi: Path, start: Start) -> None:
    """GPU 0 is in use by a program that knows nothing of the locks."""
    more = {"GCRM_PRETENDED_GPUS": "", "PATH": os.environ["PATH"]}
    job = start(2, **more)
    assert job.sees() == "1,2"
    assert start(1, **more).sees() == "0"
    assert visible_gpus()[0] == Gpu("0", "GPU-aaaa-1", 900, "NVIDIA A100-SXM4-80GB")


# --- in a run ----------------------------------------------------------------------------------


def test_jobs_of_a_run_take_what_the_config_says() -> None:
    gpus = {"pretrain": 2, "train": 0}
    rules = Rules(load(SMALL | {"gpus": gpus}, "my.yaml"), gpus_here=2)
    for stage, count in (gpus | {"represent": 1}).items():
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


def test_plain_cores_all_uses_each_gpu_for_one_job_at_a_time(
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
