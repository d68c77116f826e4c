"""The process that talks to wandb in place of a stage: `python -m gcrm.training.wandb_process`.

Whatever the library does, the stage only loses this process: wandb may hang, crash, or exit. Each
line of the standard input is one run on wandb (`Report` as JSON). Rows of a curve that is `live`
are followed until the next line comes, which says how it ended. A problem is told as JSON.
"""

import json
import os
import select
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LOOKS = 1.0


def main() -> int:
    """Report all runs of the standard input, one after another."""
    told = os.dup(1)
    os.dup2(2, 1)  # what wandb prints is not for the stage
    try:
        import wandb

        with FileIO(0) as requests:
            while line := requests.readline():
                _report(wandb, json.loads(line), requests)
        return 0
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        os.write(told, json.dumps({"problem": reason[:300]}).encode())
        return 1


def _report(wandb: Any, request: dict[str, Any], requests: FileIO) -> None:
    run = wandb.init(**request["init"], settings=wandb.Settings(console="off"))
    ended = 0
    if request["curve"] is not None:
        with Path(request["curve"]).open("rb") as file:
            _log(run, file)
            while (
                request["live"] and not select.select([requests], [], [], SECONDS_BETWEEN_LOOKS)[0]
            ):
                _log(run, file)
            if request["live"]:  # nothing comes of a stage that was killed
                ended = json.loads(requests.readline() or "1")
            _log(run, file)
    for name, value in request["summary"].items():
        run.summary[name] = value
    run.finish(exit_code=ended)


def _log(run: Any, file: Any) -> None:
    """Log the rows that are whole by now. wandb takes no step twice, so that a curve that begins
    anew, after a resume, is the same curve."""
    for row in _rows(file):
        step = row.pop("step")
        run.log({_named(key): value for key, value in row.items()}, step=step)


def _rows(file: Any) -> Iterator[dict[str, Any]]:
    while (line := file.readline()).endswith(b"\n"):
        yield json.loads(line)
    file.seek(-len(line), os.SEEK_CUR)


def _named(key: str) -> str:
    """As the Trainer's own reports name it: eval_accuracy is eval/accuracy, loss is train/loss."""
    held_out = key.removeprefix("eval_")
    return f"train/{key}" if held_out == key else f"eval/{held_out}"


if __name__ == "__main__":
    sys.exit(main())
