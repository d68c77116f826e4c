"""What all tests share: no network, one thread, no deadlines, and the small run."""

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


# With `--dist loadfile`, a long file that comes last keeps one process busy, and the other idle.
LONGEST = ["end_to_end", "workflow", "processes", "interrupt", "downloads", "docs"]


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist keep the order of files; it would start with those of most tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files of whole runs first, the longest at the beginning; then all others."""
    order = {f"integration/test_{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get("/".join(item.path.parts[-2:]), len(order)))


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The small run from nothing: its project, which tests must not change, and its screen.

    It is made once, for all processes of pytest.
    """
    from helpers.workflow_runs import small_run_in

    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    return small_run_in(shared / "small_run")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what `run_stage` sets up: its handler would write to what this test captures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
