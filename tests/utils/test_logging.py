"""Messages and logs contain no secrets and no control characters."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.cli import run_stage
from gcrm.config.train import TrainOptions
from gcrm.utils import logging as gcrm_logging
from gcrm.utils.logging import printable_line, printable_lines, say, without_secrets

KEY = "hf_0123456789abcdef"
TRAIN = ["--pretrain", "base", "--dataset", "pairs.jsonl", "--save_path", "out"]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in gcrm_logging.SECRET_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gcrm_logging, "_secrets", set())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a question, naïve 二 🎉 “quoted” $x$ \\n", "a question, naïve 二 🎉 “quoted” $x$ \\n"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("100 %\rdone\n2\t3", r"100 %\rdone\n2\t3"),
        ("\x9b2J\x07\x00\x7f", r"\x9b2J\x07\x00\x7f"),
        ("\u202etxt.exe\u2028", r"\u202etxt.exe\u2028"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable_line(text) == shown


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    shown = printable_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
    assert printable_line(shown) == shown
    assert len(printable_lines(text).split("\n")) == len(text.split("\n"))


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    monkeypatch.setenv("WANDB_API_KEY", KEY + "-longer")
    assert without_secrets(f"401 for x?t={KEY}&k={KEY}-longer") == "401 for x?t=***&k=***"
    for word in ("1", ""):  # too short for a key
        gcrm_logging.hide_secret(word)
    assert without_secrets("1 of 11 steps") == "1 of 11 steps"


def test_keys_in_errors_and_tracebacks_are_hidden(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Libraries quote requests with their headers."""

    def run(options: TrainOptions) -> None:
        assert options.use_wandb is not None
        say(f"asking with {options.use_wandb.get_secret_value()}")
        logging.getLogger("urllib3").warning("header: Bearer %s", KEY)
        raise RuntimeError(f"403 Forbidden: {KEY}\x1b[31m") from ValueError(KEY)

    log = tmp_path / "train.log"
    words = [*TRAIN, "--log-file", str(log), "--use_wandb", KEY]
    assert run_stage(TrainOptions, run, words) == 1
    said = capfd.readouterr().err + log.read_text()
    assert KEY not in said and "\x1b" not in said
    assert "asking with ***" in said and "Bearer ***" in said and "Traceback" in said
    assert said.splitlines()[1].startswith("train: failed: RuntimeError: 403 Forbidden: ***")
