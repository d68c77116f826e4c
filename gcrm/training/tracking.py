"""Training curves and final metrics on wandb, in this process.

Tracking never costs a result: where wandb fails or hangs, one line says so and the work goes on.
"""

import hashlib
import json
import netrc
import os
import sys
from collections.abc import Iterable
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from gcrm.config.track import TrackSettings
from gcrm.utils.io import Row
from gcrm.utils.logging import say

FROM_RUN = "GCRM_TRACK"
"""environment variable by which a pipeline run gives its `track` settings to its jobs; as options
of `train` they would retrain models when a tag changes"""
PATIENCE = 60
"""seconds that wandb has to start, and to upload what is left at the end"""
TIMINGS = ("runtime", "per_second")


def settings_of(options: TrackSettings, name: str) -> TrackSettings:
    """The settings of a job: its options or, without any, those of the pipeline run around it.

    Args:
        name: of the job, as in vanilla/seed0.
    """
    if options.wandb_project is None and FROM_RUN in os.environ:
        run = TrackSettings(**json.loads(os.environ[FROM_RUN]))
        return run.model_copy(update={"wandb_run_name": f"{run.wandb_run_name}/{name}"})
    return options.model_copy(update={"wandb_run_name": options.wandb_run_name or name})


def run_id(*identity: object) -> str:
    """An id for wandb: the same for all attempts at the same work."""
    return hashlib.sha256(" ".join(map(str, identity)).encode()).hexdigest()[:16]


def init_of(settings: TrackSettings, id: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `wandb.init`. A job that is tried again with the same id continues its run.

    Args:
        kind: what the run is, by which wandb can group.
        config: settings that wandb shows beside the run.
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


def connection(key: SecretStr | None = None) -> dict[str, Any]:
    """Settings of wandb's own: its limits of time and, where there is no key, offline, said so."""
    os.environ.setdefault("WANDB_SILENT", "true")  # or it tells which key it has loaded
    settings: dict[str, Any] = {
        "console": "off",
        "init_timeout": PATIENCE,
        "finish_timeout": PATIENCE,
    }
    if key is not None:
        secret = key.get_secret_value()
        sys.argv[:] = [word.replace(secret, "***") for word in sys.argv]  # which wandb keeps
        return settings | {"api_key": secret}
    if "WANDB_MODE" not in os.environ and not _has_key():
        say("wandb: no key (WANDB_API_KEY or `wandb login`): kept offline in ./wandb")
        return settings | {"mode": "offline"}
    return settings


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def without_timings(log: Iterable[Row]) -> list[Row]:
    """A Trainer's log without timings and without its last line, a summary: equal in equal runs.

    Keys are sorted, as those of a checkpoint are.
    """
    return [
        {key: row[key] for key in sorted(row) if not any(word in key for word in TIMINGS)}
        for row in log
        if "train_runtime" not in row
    ]


class WandbRun:
    """One run on wandb, reported by a thread, so that only `finish` waits for wandb.

    Args:
        init: see `init_of`. connection: see `connection`.
    """

    def __init__(self, init: dict[str, Any], connection: dict[str, Any]):
        self._rows: SimpleQueue[Row | None] = SimpleQueue()
        self._summary: dict[str, float] = {}
        self._exit_code = 0
        self._failed = False
        self._thread = Thread(target=self._report, args=(init, connection), daemon=True)
        self._thread.start()

    def log(self, rows: Iterable[Row]) -> None:
        """Add lines of a Trainer's log; steps that an earlier attempt has reported are skipped."""
        for row in rows:
            self._rows.put(row)

    def finish(self, summary: dict[str, float] | None = None, exit_code: int = 0) -> bool:
        """End the run, with final numbers by name; whether wandb has it all.

        Args:
            exit_code: 0 if the work was completed.
        """
        self._summary, self._exit_code = summary or {}, exit_code
        self._rows.put(None)
        self._thread.join(PATIENCE + 10)  # wandb's own limit comes first
        if self._thread.is_alive():
            self._give_up(f"no end after {PATIENCE} s")
        return not self._failed

    def _report(self, init: dict[str, Any], connection: dict[str, Any]) -> None:
        try:
            import wandb

            run = wandb.init(**init, settings=wandb.Settings(**connection))
            while (row := self._rows.get()) is not None:
                if row["step"] >= run.starting_step:
                    values = {_name(key): row[key] for key in row if key != "step"}
                    run.log(values, step=row["step"])
            run.summary.update(self._summary)
            run.finish(exit_code=self._exit_code)
        except (Exception, SystemExit) as error:  # a thread has no other way to tell
            self._give_up(f"{type(error).__name__}: {error}".partition("\n")[0][:300])

    def _give_up(self, problem: str) -> None:
        if not self._failed:
            self._failed = True
            say(f"wandb: WARNING: cannot report ({problem}); the work goes on without it")


def _name(key: str) -> str:
    """The Trainer's names on wandb: eval_accuracy is eval/accuracy, loss is train/loss."""
    held_out = key.removeprefix("eval_")
    return f"train/{key}" if held_out == key else f"eval/{held_out}"
