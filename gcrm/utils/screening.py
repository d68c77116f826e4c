"""What may be told: text without secrets, and without characters that a terminal obeys.

Names of keys and files come from users' data, and messages of libraries may quote a request with
its key: everything that a stage says or logs goes through here.
"""

import logging
import os
import re

FROM_ENVIRONMENT = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""variables that hold the keys of the services that stages talk to"""
HIDDEN = "***"
SHORTEST = 8
"""Shorter texts are no keys: with `--use_wandb 1`, every 1 of a log would be hidden."""

_given: set[str] = set()
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def hide(secret: str) -> None:
    """Never show this text from now on."""
    _given.add(secret)


def without_secrets(text: str) -> str:
    """The text with every secret that is known, given or in the environment, as `***`."""
    known = _given | {value for name in FROM_ENVIRONMENT if (value := os.environ.get(name))}
    for secret in sorted(known, key=len, reverse=True):  # one may be a part of another
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text


def line(text: str) -> str:
    """The text as one line that can be shown: no secrets, and control characters spelt out.

    Colours, cursor movements, line ends and changes of the writing direction are spelt as in
    Python: `\\x1b[31m` does not colour a terminal.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], without_secrets(text))


def lines(text: str) -> str:
    """As `line` for each line of a text, whose line ends stay."""
    return "\n".join(line(part) for part in text.split("\n"))


class ScreenedFormatter(logging.Formatter):
    """Screens whole records, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text that can be shown."""
        return lines(super().format(record))
