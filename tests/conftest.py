"""What all tests share: no network, one thread, and hypothesis without a stopwatch."""

import os

# Before any library reads them; jobs that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: threads cost more than they give

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Ignored behind `&` in a script and under nohup, also by the processes that tests send them to.
for number, usual in [(signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)]:
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

# A loaded machine is slow, not wrong; in CI every run draws the same examples.
settings.register_profile("gcrm", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("gcrm")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The small run from nothing: its project, to be read only, and what was on the screen.

    Made once, and shared by the processes that pytest runs in.
    """
    from helpers.workflow_runs import small_run_in

    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    return small_run_in(shared / "small_run")


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """What `run_stage` sets up is gone after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
