"""The provenance of a result as text: stage by stage, then what would have to be built again."""

import json
from functools import cache
from importlib import import_module
from typing import Any

from gcrm.config.base import Settings

Json = dict[str, Any]
WIDTH = 12
SHORT = 12
"""digits of a hash that are shown"""


def as_text(found: Json) -> str:
    """What `gcrm.trace.trace` found, for people."""
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
    """What is not as by default; paths are among the inputs."""
    defaults = _defaults(stage)
    told = [
        f"{key}={json.dumps(value)}"
        for key, value in options.items()
        if key not in defaults or defaults[key] != value
    ]
    return ", ".join(told) or "all by default"


@cache
def _defaults(stage: str) -> Json:
    module = import_module(f"gcrm.config.{stage}")
    options: type[Settings] = getattr(module, f"{stage.capitalize()}Options")
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in options.model_fields.items()
        if not field.is_required()
    }


def _now(found: Json) -> str:
    again = [step for step in found["steps"] if step["rebuild"]]
    lines = []
    if found["config"] is None:
        lines.append("No config of this run is known here (--configfile): settings not compared.")
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
        lines.append(f"Build it with the code and config of now: {commands['now']}")
    if commands["then"]:
        lines.append(f"The code of then: {commands['then']}")
    return "\n".join(lines)


def _reasons(step: Json) -> list[str]:
    return step["differs"] or ["rests on one of the above"]
