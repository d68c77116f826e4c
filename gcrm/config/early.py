"""What Snakemake reads before it reads our Snakefile, checked before it does so.

Snakemake ends with a traceback, or without the name of the file, where a config file or an entry of
`--config` cannot be read. A workflow profile is read still earlier, and may have Python in it: ours
call `check_command_line`.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gcrm.config.loading import read_config
from gcrm.utils.errors import UserError
from gcrm.utils.logging import printable_lines

DEFAULT = Path("config/config.yaml")


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """End with one line where Snakemake could not read what its command line names.

    Args:
        argv: the words after `snakemake` (default: those of this process).

    Raises:
        SystemExit: with that line.
    """
    from snakemake.cli import get_argument_parser

    given: Any = get_argument_parser().parse_args(argv)
    if given.workflow_profile == "none":
        return
    files = given.configfile or [Path(given.directory or "") / DEFAULT]
    try:
        for file in map(Path, files):
            check_readable(file)
        check_entries(given.config or ())
    except UserError as error:
        sys.exit(printable_lines(str(error)))


def check_readable(file: Path) -> None:
    """Refuse a config file that Snakemake cannot read.

    Raises:
        UserError: with the reason and, where it is known, the place in the file.
    """
    from snakemake.common.configfile import load_configfile

    try:
        load_configfile(file)
    except Exception as error:  # of the file, of YAML, and of a template in it, which is any code
        read_config(file)  # tells of the first two, with the place
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: cannot be read as a config: {reason}") from None


def check_entries(words: Iterable[str]) -> None:
    """Refuse an entry of `--config` that is not `name=value`.

    Raises:
        UserError: with the first such entry.
    """
    from snakemake.cli import parse_config

    for word in words:
        try:
            parse_config([word])
        except Exception as error:  # of YAML, too
            reason = " ".join(str(error).split())
            raise UserError(f"--config {word}: expected name=value: {reason}") from None
