"""What a stage says while it runs: its full log in a file, one progress line on the terminal."""

import logging
import os
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path

from gcrm.utils.errors import UserError
from gcrm.utils.screening import ScreenedFormatter, line

SECONDS_BETWEEN_LINES = 5.0


def set_up_logging(log_file: Path | None) -> None:
    """Send every log record, the libraries' too, to `log_file`; without one, to standard error.

    Raises:
        UserError: the file cannot be written.
    """
    handler: logging.Handler
    if log_file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            handler = _LogFile(log_file, mode="a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{log_file}: cannot be written: {error.strerror}") from None
    handler.setFormatter(ScreenedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # Of several processes, the first one tells what all do; the others, what goes wrong.
    tells_all = log_file is not None and os.environ.get("RANK", "0") == "0"
    level = logging.INFO if tells_all else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # How DeepSpeed calls torch is nothing that a user can change.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    # Progress bars and load reports of the libraries would drown our own lines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DS_LOG_LEVEL", "error")


class _LogFile(logging.FileHandler):
    """A log on a full disk stays short; it neither stops the stage nor covers the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def name_of(folder: str | Path) -> str:
    """What a model or goal state is called: the end of its folder, `vanilla/seed0` in a run."""
    return Path(*Path(folder).resolve().parts[-2:]).as_posix()


def say(message: str) -> None:
    """One line for the terminal and the log; of several processes, the first one speaks."""
    if os.environ.get("RANK", "0") != "0":
        return
    with suppress(OSError):  # the terminal is gone; the work goes on
        print(line(message), file=sys.stderr, flush=True)
    if _logs_to_file():
        logging.getLogger("gcrm").info(message)


def _logs_to_file() -> bool:
    return any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers)


class Progress:
    """Counts the steps of a stage and says every few seconds how far it is and how long still.

    >>> progress = Progress("evaluate tiny/vanilla gsm8k", total=2, unit="batch")
    >>> progress.advance(); progress.advance()  # doctest: +SKIP
    evaluate tiny/vanilla gsm8k: batch 2/2, done in 0:01
    """

    def __init__(self, stage: str, total: int, unit: str = "step"):
        self.stage, self.total, self.unit = stage, total, unit
        self.done = 0
        self.started = self.last_line = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more; `note` is shown behind the line (a loss, say)."""
        if not steps:
            return  # or the last line would come twice
        self.done += steps
        now = time.monotonic()
        finished = self.done >= self.total
        if not finished and now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        elapsed = now - self.started
        if finished:
            time_left = f"done in {_clock(elapsed)}"
        else:
            time_left = f"{_clock(elapsed / self.done * (self.total - self.done))} left"
        say(
            f"{self.stage}: {self.unit} {self.done}/{self.total}, {time_left}"
            + (f", {note}" if note else "")
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
