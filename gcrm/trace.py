"""Where a number comes from: `python -m gcrm.trace results/tiny/metrics/…/gsm8k.json auroc.reward`.

Shows every stage on the way to it, from raw data and base model on: settings, data, commit,
versions, device; and what has changed since, so that it would have to be built again.
"""

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gcrm.cli import Parser, show
from gcrm.config.loading import load, read_config
from gcrm.config.run import Config
from gcrm.lineage.origins import Json, Step, provenance_of, read, steps_to, to_rebuild
from gcrm.lineage.provenance import git_state
from gcrm.lineage.settings_now import settings_now
from gcrm.lineage.trace_text import as_text
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_json
from gcrm.utils.logging import printable_line, printable_lines


def main(words: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = Parser(prog="python -m gcrm.trace", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", type=Path, help="a result: metrics, scores, a model, a table …")
    parser.add_argument("number", nargs="?", help="its place in the file, as in auroc.reward")
    parser.add_argument(
        "--configfile",
        type=Path,
        help="config to compare settings with (default: the one in config/ whose `run` made it)",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    try:
        options = parser.parse_args(words)
        found = trace(options.file, options.number, options.configfile)
        text = json.dumps(found, indent=2, default=str) if options.json else as_text(found)
        show(printable_lines(text) + "\n")
        return 0
    except UserError as error:
        print(printable_line(f"trace: error: {error}"), file=sys.stderr)
        return 1


def trace(file: Path, number: str | None = None, configfile: Path | None = None) -> Json:
    """All that is known of a result.

    Returns:
        file, number, value; config; now (git); steps, the first ones first, each with stage,
        provenance, inputs, facts, differs, rebuild; commands, to build it now and as it was.

    Raises:
        UserError: there is no such file, number or config, or nothing tells where the file is from.
    """
    if not file.exists():
        raise UserError(f"{file}: no such file or folder")
    path = provenance_of(file)
    if path is None:
        raise UserError(
            f"{file}: no provenance beside it, so that no stage is known to have made it; give a "
            "result of a stage"
        )
    config, where = _config(file, configfile)
    steps = steps_to(path, partial(settings_now, config) if config else None)
    rebuild = [step.path for step in to_rebuild(steps)]
    facts = read(path) or {}
    return {
        "file": str(file),
        "number": number,
        "value": _value(file, number) if number else None,
        "config": where,
        "now": git_state(),
        "steps": [_shown(step, step.path in rebuild) for step in steps],
        "commands": _commands(file, facts, where, bool(config)),
    }


def _value(file: Path, number: str) -> Any:
    if file.suffix != ".json":
        raise UserError(f"{file}: numbers are named in .json files only; leave out {number!r}")
    found = read_json(file, "metrics")
    reached: list[str] = []
    rest = number
    while rest:
        keys = found if isinstance(found, dict) else {}
        # A key may have a dot itself, as percentiles do.
        fitting = [key for key in keys if rest == key or rest.startswith(f"{key}.")]
        if not fitting:
            known = ", ".join(keys) or "no keys, for it is a list or a value itself"
            place = ".".join(reached) or "the file"
            raise UserError(f"{file}: no {number!r}; {place} has {known}")
        key = max(fitting, key=len)
        reached.append(key)
        rest, found = rest[len(key) + 1 :], found[key]
    return found


def _config(file: Path, given: Path | None) -> tuple[Config | None, str | None]:
    """The config of the run that a file belongs to, and its path; or (None, None)."""
    if given is not None:
        return load(read_config(given), str(given)), str(given)
    parts = Path(os.path.relpath(file)).parts
    if len(parts) < 3 or parts[0] != "results":
        return None, None
    candidates = [Path("config/config.yaml"), *sorted(Path("config").glob("*.yaml"))]
    for path in candidates:
        try:
            content = read_config(path)
            if content.get("run") == parts[1]:
                return load(content, str(path)), str(path)
        except UserError:
            continue  # a config of others, which may not fit this machine
    return None, None


def _shown(step: Step, rebuild: bool) -> Json:
    return {
        "stage": step.stage,
        "provenance": str(step.path),
        "inputs": [
            {
                "name": one.name,
                "sha256": one.then,
                "made_by": one.made_by and str(one.made_by),
                "change": one.change,
            }
            for one in step.inputs
        ],
        "facts": {key: value for key, value in step.facts.items() if key != "inputs"},
        "differs": step.differs,
        "notes": step.notes,
        "rebuild": rebuild,
    }


def _commands(file: Path, facts: Json, config: str | None, known: bool) -> Json:
    """How to build it again: with the code of now, and with that of then."""
    git = facts.get("git") or {}
    again = None
    if known and file.is_file():
        option = "" if config == "config/config.yaml" else f" --configfile {config}"
        again = f"snakemake --cores all {os.path.relpath(file)}{option}"
    return {"now": again, "then": f"git checkout {git['commit']}" if git else None}


if __name__ == "__main__":
    raise SystemExit(main())
