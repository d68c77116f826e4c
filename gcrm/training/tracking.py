"""Curves and final metrics: to a local file always, and to wandb where asked for.

Tracking never costs a result: where it fails, one line says so and the work goes on.
"""

import json
import netrc
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from gcrm.config.track import TrackSettings
from gcrm.utils.io import Row
from gcrm.utils.logging import say

FROM_RUN = "GCRM_TRACK"
"""variable by which a run of the pipeline tells its jobs `track` of the config: not an option of
theirs, or another tag would train anew"""
PATIENCE = 60.0
"""seconds that wandb has for its last words"""
MEASUREMENTS_OF_TIME = ("runtime", "per_second")


@dataclass(frozen=True)
class Report:
    """One run on wandb.

    Attributes:
        init: what `wandb.init` is given.
        curve: JSON lines of the training, each with its step.
        live: whether lines are still added to it.
        summary: final numbers by name.
    """

    init: dict[str, Any]
    curve: str | None = None
    live: bool = False
    summary: dict[str, float] = field(default_factory=dict)


def settings_of(options: TrackSettings, name: str) -> TrackSettings:
    """What to report a job as: by its options or, without any, by the run that it belongs to.

    Args:
        name: of the job, as in vanilla/seed0.
    """
    if options.wandb_project is None and FROM_RUN in os.environ:
        run = TrackSettings(**json.loads(os.environ[FROM_RUN]))
        return run.model_copy(update={"wandb_run_name": f"{run.wandb_run_name}/{name}"})
    return options.model_copy(update={"wandb_run_name": options.wandb_run_name or name})


def init_of(settings: TrackSettings, id: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """What `wandb.init` is given. A job that is tried again, with one id, goes on with its run.

    Args:
        kind: what the run is, by which wandb can group.
        config: settings to be shown beside it.
    """
    return {
        "project": settings.wandb_project or "gcrm",
        "entity": settings.wandb_org,
        "group": settings.wandb_group,
        "name": settings.wandb_run_name,
        "tags": settings.wandb_tags,
        "job_type": kind,
        "id": id,
        "resume": "allow",
        "config": config,
    }


def curve(log: Iterable[Row]) -> list[Row]:
    """A Trainer's log without timings and its last line, which sums up: the same in each run.

    Keys are sorted, since those that a checkpoint has kept are.
    """
    return [
        {
            key: value
            for key, value in sorted(row.items())
            if not any(t in key for t in MEASUREMENTS_OF_TIME)
        }
        for row in log
        if "train_runtime" not in row
    ]


class Wandb:
    """wandb in a process of its own, which can neither stop nor delay a stage."""

    def __init__(self, reports: Sequence[Report], key: SecretStr | None = None):
        environ = dict(os.environ) | {"WANDB_SILENT": "true"}
        if key is not None:
            environ["WANDB_API_KEY"] = key.get_secret_value()
        if not _has_key(environ) and "WANDB_MODE" not in environ:
            say("wandb: no key (WANDB_API_KEY or `wandb login`): kept offline in ./wandb")
            environ["WANDB_MODE"] = "offline"
        self.patience = PATIENCE + 10 * len(reports)
        self._ended = False
        # A session of its own: Ctrl-C is for the stage, whose end this process then sees.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gcrm.training.wandb_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            start_new_session=True,
        )
        self._waiting = b"".join(json.dumps(asdict(one)).encode() + b"\n" for one in reports)

    def start(self) -> None:
        """Hand over what there is: a live curve is then followed."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what became of it is said by `check`
            self._process.stdin.write(self._waiting)
            self._process.stdin.flush()
        self._waiting = b""

    def check(self) -> None:
        """Say so, once, if the process has given up."""
        if not self._ended and self._process.poll() is not None:
            self.finish()

    def finish(self, status: int | None = None) -> None:
        """Wait for the process, as long as its patience lasts.

        Args:
            status: how what a live curve shows has ended; 0 is well.
        """
        if self._ended:
            return
        self._ended = True
        last = b"" if status is None else f"{status}\n".encode()
        try:
            told, _ = self._process.communicate(self._waiting + last, timeout=self.patience)
            problem = _problem(told) if self._process.returncode else None
        except subprocess.TimeoutExpired:
            problem = f"no end after {self.patience:g} s"
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
        except OSError as error:
            problem = str(error)
        if problem is not None:
            say(f"wandb: WARNING: cannot report ({problem}); the work goes on without it")


def _problem(told: bytes) -> str:
    try:
        return str(json.loads(told)["problem"])
    except (ValueError, KeyError, TypeError):
        return "its process ended"


def _has_key(environ: dict[str, str]) -> bool:
    if environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
