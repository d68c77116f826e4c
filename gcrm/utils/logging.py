"""What a stage says while it runs: a full log in a file, short lines on the terminal.

Everything said or logged is screened. Names of keys and files come from users' data, and messages
of libraries may quote a request with its key, so secrets and control characters are replaced.
"""

import logging
import os
import re
import sys
import time
import warnings
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from gcrm.utils.disk import explain_write_errors

SECONDS_BETWEEN_LINES = 5.0
SECRET_VARIABLES = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""environment variables with the keys of the services that stages use"""
HIDDEN = "***"
SHORTEST_SECRET = 8
"""Shorter texts are not hidden: with `--use_wandb 1`, every 1 of a log would be."""

_secrets: set[str] = set()
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def hide_secret(secret: str) -> None:
    """From now on, show `***` instead of this text."""
    _secrets.add(secret)


def without_secrets(text: str) -> str:
    """The text with `***` for every secret that was given to `hide_secret` or is in a variable."""
    known = _secrets | {value for name in SECRET_VARIABLES if (value := os.environ.get(name))}
    for secret in sorted(known, key=len, reverse=True):  # one may be part of another
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    return text


def printable_line(text: str) -> str:
    """The text as one line for a terminal, without secrets.

    Control characters (colours, cursor movements, line ends, changes of the writing direction) are
    escaped as in Python: `\\x1b[31m` does not colour the terminal.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], without_secrets(text))


def printable_lines(text: str) -> str:
    """`printable_line` of each line of a text; its line ends stay."""
    return "\n".join(map(printable_line, text.split("\n")))


class _ScreenedFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))  # tracebacks included


class _LogFile(logging.FileHandler):
    """On a full disk the log ends early; the stage goes on, and the terminal stays readable."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def set_up_logging(log_file: Path | None) -> None:
    """Send every log record, the libraries' too, to `log_file`; without one, to standard error.

    Raises:
        UserError: the file cannot be written.
    """
    handler: logging.Handler
    if log_file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        with explain_write_errors(log_file):
            log_file.parent.mkdir(parents=True, exist_ok=True)
            handler = _LogFile(log_file, mode="a", encoding="utf-8")
    handler.setFormatter(_ScreenedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # Of several processes, the first logs everything, the others only warnings and errors.
    logs_all = log_file is not None and _is_first_process()
    level = logging.INFO if logs_all else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Users cannot change how DeepSpeed calls torch.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    # Progress bars and load reports of the libraries would hide our own lines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DS_LOG_LEVEL", "error")
    if transformers := sys.modules.get("transformers"):  # it has read its variables already
        transformers.utils.logging.disable_progress_bar()


def say(message: str) -> None:
    """Write one line to the terminal and to the log file; of several processes, only the first."""
    if not _is_first_process():
        return
    with suppress(OSError):  # the terminal is gone; the work goes on
        print(printable_line(message), file=sys.stderr, flush=True)
    if any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers):
        logging.getLogger("gcrm").info(message)


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


class Progress:
    """Counts the steps of a stage and says every few seconds how many are done and the time left.

    >>> progress = Progress("evaluate tiny/vanilla gsm8k", total=2, unit="batch")
    >>> progress.advance(); progress.advance()  # doctest: +SKIP
    evaluate tiny/vanilla gsm8k: batch 2/2, done in 0:00:01
    """

    def __init__(self, stage: str, total: int, unit: str = "step"):
        self.stage, self.total, self.unit = stage, total, unit
        self.done = 0
        self.started = self.last_line = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more; `note` (a loss, for example) is added to the line."""
        if not steps:
            return  # the last line must not come twice
        self.done += steps
        now, finished = time.monotonic(), self.done >= self.total
        if not finished and now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        elapsed = now - self.started
        left = timedelta(seconds=round(elapsed / self.done * (self.total - self.done)))
        state = f"done in {timedelta(seconds=round(elapsed))}" if finished else f"{left} left"
        end = f", {note}" if note else ""
        say(f"{self.stage}: {self.unit} {self.done}/{self.total}, {state}{end}")
