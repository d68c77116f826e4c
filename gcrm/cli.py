"""The command line of a stage (`python -m gcrm.<stage>`), generated from its options model.

Options have the names of the original commands, with `-` or `_`. The options model checks the
values, so a command and the config refuse the same values with the same message.
"""

import argparse
import difflib
import gc
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from gcrm.config.base import Settings, explain
from gcrm.config.types import parts_of
from gcrm.lineage.provenance import check_folders
from gcrm.utils.disk import disk_problem
from gcrm.utils.environment import drop_harmful_variables, use_same_kernels
from gcrm.utils.errors import UserError
from gcrm.utils.logging import hide_secret, printable_line, set_up_logging
from gcrm.utils.processes import end_with_snakemake

Options = TypeVar("Options", bound=Settings)
log = logging.getLogger("gcrm")
COLLECT_AFTER = 50_000
"""objects until Python looks for garbage: libraries make a million that stay while they load"""
METAVARS = {dict: "TEXT", int: "N", float: "X", Path: "PATH"}


def run_stage(
    options_model: type[Options],
    run: Callable[[Options], None],
    argv: Sequence[str] | None = None,
    before: Callable[[str], None] | None = None,
) -> int:
    """Parse the command line into `options_model`, run the stage, and return its exit status.

    A mistake of the user ends in one line and status 1, an interruption in status 130. Any other
    exception keeps its traceback, in the log file if there is one.

    Args:
        before: called with the stage's name once its log is set up; `gcrm.utils.gpus.take_gpus`.
    """
    stage = options_model.__module__.rpartition(".")[2]
    log_file: Path | None = None

    def fail(message: str, status: int = 1) -> int:
        print(printable_line(f"{stage}: {message}"), file=sys.stderr, flush=True)
        if log_file:
            log.error("%s: %s", stage, message)
        return status

    end_with_snakemake()
    try:
        _check_docstrings()
        options, wanted = parse(options_model, stage, sys.argv[1:] if argv is None else argv)
        check_folders(options, stage)
        _hide_secrets(options)
        set_up_logging(wanted)
        log_file = wanted
        _set_environment(options, stage)
        if before is not None:
            before(stage)
        log.info("%s: options %s", stage, options.model_dump_json())
        started = time.monotonic()
        run(options)
        log.info("%s: done in %.1f s", stage, time.monotonic() - started)
        return 0
    except UserError as error:
        return fail(f"error: {error}")
    except KeyboardInterrupt:
        return fail("interrupted", status=130)
    except Exception as error:
        if problem := disk_problem(error):
            return fail(f"error: {problem}")
        if log_file is None:
            raise
        log.exception("%s failed", stage)
        return fail(f"failed: {_first_line(error)} (see {log_file})")


def _hide_secrets(options: Settings) -> None:
    for _, value in options:
        if isinstance(value, SecretStr):
            hide_secret(value.get_secret_value())


def _set_environment(options: Settings, stage: str) -> None:
    """Set what libraries read when they are loaded."""
    gc.set_threshold(COLLECT_AFTER)
    drop_harmful_variables()
    if getattr(options, "reproducible", False):
        use_same_kernels(stage)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]


def _check_docstrings() -> None:
    if sys.flags.optimize > 1:
        raise UserError(
            "Python drops docstrings here, and transformers needs its own; unset PYTHONOPTIMIZE, "
            "or leave out -OO"
        )


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage of all options before it."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UserError(f"{message}; --help explains every option")


def parse(
    options_model: type[Options], stage: str, argv: Sequence[str]
) -> tuple[Options, Path | None]:
    """The checked options and the log file (or None) of a command line.

    Raises:
        UserError: an option is unknown, or a value is missing, unknown or out of its range.
        SystemExit: `--help`.
    """
    parser = Parser(
        prog=f"python -m gcrm.{stage}",
        description=options_model.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in options_model.model_fields.items():
        _add_option(parser, name, field)
    parser.add_argument(
        "--log-file", type=Path, metavar="FILE", help="write the full log there (default: stderr)"
    )
    namespace, unknown = parser.parse_known_args([_plain(word) for word in argv])
    if unknown:
        flag = unknown[0].partition("=")[0]
        if not flag.startswith("-"):
            raise UserError(f"unexpected {flag!r}; every value follows its option: --name value")
        name = flag.strip("-").replace("-", "_")
        close = difflib.get_close_matches(name, [*options_model.model_fields, "log_file"], n=1)
        hint = f"did you mean --{close[0]}?" if close else "--help explains every option"
        raise UserError(f"unknown option {flag}; {hint}")
    given = vars(namespace)
    log_file = given.pop("log_file")
    try:
        options = options_model(**given)
    except ValidationError as error:
        # An error of a single option begins with its flag.
        lines = explain(error, "", options_model).splitlines()
        flags = ["--" if problem["loc"] else "" for problem in error.errors()]
        told = (flag + line.removeprefix(": ") for flag, line in zip(flags, lines, strict=True))
        raise UserError("; ".join(told)) from None
    for name, path, _ in options.paths():
        if log_file is not None and os.path.realpath(path) == os.path.realpath(log_file):
            raise UserError(f"--log-file: {log_file} is --{name}, too, and would be overwritten")
    return options, log_file


def _plain(word: str) -> str:
    """The word as argparse needs it: options with dashes, negative numbers without exponent.

    argparse would take -1e-5 for an option.
    """
    if re.fullmatch(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", word, re.IGNORECASE | re.ASCII):
        return f"{Decimal(word):f}"
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    """Declare an option; its help ends with the default, where the description does not say it."""
    text = " ".join((field.description or "").split())
    if field.is_required():
        text += " (required)"
    elif "(default:" not in text:
        default = field.get_default(call_default_factory=True)
        if isinstance(default, list | tuple):
            default = " ".join(map(str, default))
        text += f" (default: {'none' if default in (None, '') else default})"
    settings: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
    parts = [field.annotation, *parts_of(field.annotation)]
    kinds = [*parts, *map(get_origin, parts)]
    if bool in kinds:
        settings["action"] = argparse.BooleanOptionalAction
    else:
        choices = next((get_args(part) for part in parts if get_origin(part) is Literal), ())
        known = (word for kind, word in METAVARS.items() if kind in kinds)
        settings["metavar"] = f"{{{','.join(choices)}}}" if choices else next(known, "TEXT")
        if list in kinds or tuple in kinds:
            settings |= {"nargs": "*", "action": "extend"}  # --x a b, and --x a --x b
    flag = "--" + name.replace("_", "-")
    parser.add_argument(flag, help=text.replace("%", "%%"), **settings)


def show(text: str) -> None:
    """Print a result to standard output; a reader may stop early, as `head` does.

    Raises:
        UserError: standard output cannot be written.
    """
    try:
        print(text, end="", flush=True)
    except OSError as error:
        # The rest of the buffer would fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            reason = disk_problem(error) or error.strerror
            raise UserError(f"standard output: cannot be written: {reason}") from None
