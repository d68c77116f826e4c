"""Where a number comes from: `gcrm trace results/tiny/metrics/…/gsm8k.json auroc.reward`.

Shows every stage on the way to it, from raw data and base model on: options, data, commit, versions
and device. Then it lists what has changed since and would be built again.
"""

import difflib
import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gcrm.cli import Parser, show
from gcrm.config.loading import load, read_config
from gcrm.config.options import options_model
from gcrm.config.run import Config
from gcrm.lineage.provenance import git_state
from gcrm.lineage.steps import Json, Step, provenance_of, read, steps_to, to_rebuild
from gcrm.utils.errors import UserError
from gcrm.utils.logging import printable_line, printable_lines

WIDTH = 12
"""characters of the names of facts, in the text"""
SHORT = 12
"""digits of a hash, in the text"""


def main(words: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = Parser(prog="python -m gcrm.trace", description=__doc__, allow_abbrev=False)
    parser.add_argument("file", type=Path, help="a result: metrics, scores, a model, a table …")
    parser.add_argument(
        "number",
        nargs="?",
        help="a metric, as auroc.reward; with @AT one point of a curve; or keys of a JSON object",
    )
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
    steps = steps_to(path, config)
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
    """The rows of a metric in a table of estimates, or what lies under keys in a JSON object.

    Raises:
        UserError: the file has no such number.
    """
    if file.suffix != ".json":
        raise UserError(f"{file}: only .json files have numbers by name; leave out {number!r}")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as JSON: {error}") from None
    if isinstance(found, list):
        return _estimates(file, found, number)
    reached: list[str] = []
    rest = number
    while rest:
        keys = found if isinstance(found, dict) else {}
        # A key may have dots itself.
        fitting = [key for key in keys if rest == key or rest.startswith(f"{key}.")]
        if not fitting:
            known = ", ".join(keys) or "no keys, for it is a list or a value itself"
            place = ".".join(reached) or "the file"
            raise UserError(f"{file}: no {number!r}; {place} has {known}")
        key = max(fitting, key=len)
        reached.append(key)
        rest, found = rest[len(key) + 1 :], found[key]
    return found


def _estimates(file: Path, rows: list[Any], number: str) -> Any:
    """The row of a metric; several rows, where it is a curve or is there for several models."""
    metrics = dict.fromkeys(
        row["metric"] for row in rows if isinstance(row, dict) and "metric" in row
    )
    metric, _, at = (number, "", "") if number in metrics else number.rpartition("@")
    found = [row for row in rows if metric in metrics and row["metric"] == metric]
    if at:
        found = [row for row in found if at in (str(row["at"]), f"{row['at'] or 0:g}")]
    if not found:
        close = difflib.get_close_matches(metric or number, metrics, n=1)
        hint = f"did you mean {close[0]!r}? The" if close and close[0] != metric else "the"
        known = ", ".join(metrics) or "no metrics"
        raise UserError(f"{file}: no {number!r}; {hint} file has {known}")
    return found if len(found) > 1 else found[0]


def _config(file: Path, given: Path | None) -> tuple[Config | None, str | None]:
    """The config of the run that a file belongs to, and its path; or (None, None)."""
    if given is not None:
        return load(read_config(given), str(given)), str(given)
    parts = Path(os.path.relpath(file)).parts
    if len(parts) < 3 or parts[0] != "results":
        return None, None
    candidates = [Path("config/config.yaml"), *sorted(Path("config").rglob("*.yaml"))]
    for path in candidates:
        try:
            content = read_config(path)
            if content.get("run") == parts[1]:
                return load(content, str(path)), str(path)
        except UserError:
            continue  # another run's, which may not fit this machine
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
    """How to build it again with the present code, and how to get the code that made it."""
    git = facts.get("git") or {}
    again = None
    if known and file.is_file():
        option = "" if config == "config/config.yaml" else f" --configfile {config}"
        again = f"snakemake --cores all {os.path.relpath(file)}{option}"
    return {"now": again, "then": f"git checkout {git['commit']}" if git else None}


def as_text(found: Json) -> str:
    """What `trace` found, as text: stage by stage, then what would be built again."""
    head = found["file"]
    if found["number"]:
        head += f": {found['number']} = {json.dumps(found['value'])}"
    blocks = [head, *map(_step, found["steps"]), _now(found)]
    return "\n\n".join(blocks)


def _step(step: Json) -> str:
    facts = step["facts"]
    git = facts.get("git")
    commit = "not in git" if git is None else git["commit"][:SHORT]
    if git and git["changed_since"]:
        commit += ", and the code had been changed since (dirty)"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    threads = f", {facts['threads']} threads" if facts.get("threads") else ""
    lines = [
        ("made", f"{facts['finished']}, in {facts['seconds']} s"),
        ("code", f"commit {commit}; version {facts.get('code', 'not recorded')}"),
        ("device", f"{facts['device']}{threads}"),
        ("versions", versions),
        ("settings", _settings(step["stage"], facts["options"])),
        *(("from", _input(one)) for one in step["inputs"]),
    ]
    if not step["inputs"]:
        lines.append(("from", "nothing: it begins here"))
    lines += [("DIFFERS", reason) for reason in step["differs"]]
    lines += [("note", reason) for reason in step["notes"]]
    return "\n".join(
        [
            f"{step['stage']}  ({step['provenance']})",
            *(f"  {name:{WIDTH}}{text}" for name, text in lines),
        ]
    )


def _input(one: Json) -> str:
    if one["sha256"] is None:
        return f"{one['name']}  (a name on the hub)"
    origin = "" if one["made_by"] else "; brought: it begins here"
    return f"{one['name']}  (SHA-256 {one['sha256'][:SHORT]}{origin})"


def _settings(stage: str, options: Json) -> str:
    """The options that differ from their defaults."""
    defaults = _defaults(stage)
    told = [
        f"{key}={json.dumps(value)}"
        for key, value in options.items()
        if key not in defaults or defaults[key] != value
    ]
    return ", ".join(told) or "all by default"


@cache
def _defaults(stage: str) -> Json:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in options_model(stage).model_fields.items()
        if not field.is_required()
    }


def _now(found: Json) -> str:
    again = [step for step in found["steps"] if step["rebuild"]]
    lines = []
    if found["config"] is None:
        lines.append(
            "No config of this run is known here (--configfile); options are not compared."
        )
    if again:
        names = " → ".join(step["stage"] for step in again)
        lines.append(f"To reproduce it now, these would be built again: {names}")
        lines += [f"  {step['stage']}: {reason}" for step in again for reason in _reasons(step)]
    elif found["config"] is None:
        lines.append("Nothing else differs from this checkout.")
    else:
        lines.append("Nothing differs from this checkout and its config: the same would be built.")
    commands = found["commands"]
    if commands["now"]:
        lines.append(f"Build it with the present code and config: {commands['now']}")
    if commands["then"]:
        lines.append(f"The code that made it: {commands['then']}")
    return "\n".join(lines)


def _reasons(step: Json) -> list[str]:
    return step["differs"] or ["depends on one of the above"]


if __name__ == "__main__":
    raise SystemExit(main())
