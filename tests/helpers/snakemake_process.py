"""Processes that run Snakemake, forked from one that has loaded it: a test starts many of them.

It takes half of the time of a dry run to load Snakemake. Its processes have nothing else in common.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["snakemake.cli"])


def run_snakemake(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What the command `snakemake` does with these words, in a folder and with an environment."""
    with tempfile.TemporaryDirectory() as screen:
        files = [os.path.join(screen, name) for name in ("stdout", "stderr")]
        process = FORKS.Process(target=_main, args=([*words], str(folder), {**environment}, files))
        process.start()
        process.join(1800)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(["snakemake", *words], 1800)
        said = [Path(file).read_text() for file in files]
    return subprocess.CompletedProcess(["snakemake", *words], process.exitcode, *said)


def _main(words: list[str], folder: str, environment: dict[str, str], files: list[str]) -> None:
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    home = os.path.dirname(sys.executable)
    sys.argv[:] = [os.path.join(home, "snakemake"), *words]
    installed = (sys.prefix, sys.base_prefix)  # not the folders of tests, which pytest adds
    sys.path[:] = [home, *(path for path in sys.path if path.startswith(installed))]
    from snakemake.cli import main

    main()
