"""Training curves and final metrics on wandb, in this process.

If wandb fails or hangs, one line reports it and the job continues.
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
"""environment variable that passes the `track` settings of a pipeline run to its jobs; as options
of `train`, a changed tag would retrain models"""
PATIENCE = 60
"""time limit for wandb to start, and to upload the rest at the end, in seconds"""
TIMINGS = ("runtime", "per_second")


def settings_of(options: TrackSettings, name: str) -> TrackSettings:
    """The settings of a job: its own options, or those of the pipeline run that started it.

    Args:
        name: name of the job, such as vanilla/seed0.
    """
    if options.wandb_project is None and FROM_RUN in os.environ:
        run = TrackSettings(**json.loads(os.environ[FROM_RUN]))
        return run.model_copy(update={"wandb_run_name": f"{run.wandb_run_name}/{name}"})
    return options.model_copy(update={"wandb_run_name": options.wandb_run_name or name})


def run_id(*identity: object) -> str:
    """A wandb run id, equal for all attempts at the same job."""
    return hashlib.sha256(" ".join(map(str, identity)).encode()).hexdigest()[:16]


def init_of(settings: TrackSettings, id: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `wandb.init`. A retried job with the same id continues its run.

    Args:
        kind: wandb's job type, for grouping.
        config: settings that wandb shows with the run.
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
    """wandb's own settings: time limits and, without a key, offline mode, which is reported."""
    os.environ.setdefault("WANDB_SILENT", "true")  # otherwise wandb prints where its key is from
    settings: dict[str, Any] = {
        "console": "off",
        "init_timeout": PATIENCE,
        "finish_timeout": PATIENCE,
    }
    if key is not None:
        secret = key.get_secret_value()
        # wandb records the command line.
        sys.argv[:] = [word.replace(secret, "***") for word in sys.argv]
        return settings | {"api_key": secret}
    if "WANDB_MODE" not in os.environ and not _has_key():
        say("wandb: no key (WANDB_API_KEY or `wandb login`): keeping the run offline in ./wandb")
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
    """A Trainer's log without timings and the final summary line: equal for equal runs.

    Keys are sorted, as in a checkpoint.
    """
    return [
        {key: row[key] for key in sorted(row) if not any(word in key for word in TIMINGS)}
        for row in log
        if "train_runtime" not in row
    ]


class WandbRun:
    """One wandb run, reported by a thread; only `finish` waits for wandb.

    Args:
        init: see `init_of`.
        connection: see `connection`.
    """

    def __init__(self, init: dict[str, Any], connection: dict[str, Any]):
        self._rows: SimpleQueue[Row | None] = SimpleQueue()
        self._summary: dict[str, float] = {}
        self._exit_code = 0
        self._failed = False
        self._thread = Thread(target=self._report, args=(init, connection), daemon=True)
        self._thread.start()

    def log(self, rows: Iterable[Row]) -> None:
        """Add lines of a Trainer's log; steps that an earlier attempt reported are skipped."""
        for row in rows:
            self._rows.put(row)

    def finish(self, summary: dict[str, float] | None = None, exit_code: int = 0) -> bool:
        """End the run with its final metrics; returns whether everything reached wandb.

        Args:
            exit_code: 0 if the job was completed.
        """
        self._summary, self._exit_code = summary or {}, exit_code
        self._rows.put(None)
        self._thread.join(PATIENCE + 10)  # wandb's own limit applies first
        if self._thread.is_alive():
            self._give_up(f"no response after {PATIENCE} s")
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
        except (Exception, SystemExit) as error:  # nothing else reports errors of a thread
            self._give_up(f"{type(error).__name__}: {error}".partition("\n")[0][:300])

    def _give_up(self, problem: str) -> None:
        if not self._failed:
            self._failed = True
            say(f"wandb: WARNING: cannot report ({problem}); the job continues without wandb")


def _name(key: str) -> str:
    """A Trainer's name as wandb shows it: eval_accuracy is eval/accuracy, loss is train/loss."""
    held_out = key.removeprefix("eval_")
    return f"train/{key}" if held_out == key else f"eval/{held_out}"
