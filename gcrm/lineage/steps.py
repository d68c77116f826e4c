"""The stages on the way to a result, from raw data on, and what has changed since each ran.

Each stage wrote a provenance file beside its results, with the SHA-256 of what it read. The
history begins at files that no stage made: a user's data, a base model, a name on the hub.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gcrm.config.jobs import COMPUTING
from gcrm.config.layout import PAIRS, RESULTS, wildcards_of
from gcrm.config.options import NO_MATTER, options
from gcrm.config.run import Config
from gcrm.lineage.fingerprint import code_version
from gcrm.lineage.provenance import FILE, beside, read_provenance, sha256, versions_now
from gcrm.utils.errors import UserError
from gcrm.utils.paths import path_of

Json = dict[str, Any]

NOT_COMPARED = {**NO_MATTER, "report": {"published"}}
"""options that change nothing, or name a file of the workflow that is among the inputs"""

read = cache(read_provenance)
"""reads a provenance file; many results share their first stages"""


@dataclass(frozen=True)
class Input:
    """Something that a stage read.

    Attributes:
        name: file, folder or name on the hub.
        then: its SHA-256 when it was read; None for a name on the hub.
        now: its SHA-256 now; None if it does not exist.
        made_by: the provenance file of the stage that made it; None for data of the user.
    """

    name: str
    then: str | None
    now: str | None
    made_by: Path | None

    @property
    def change(self) -> str | None:
        """How it has changed since, in words; None if it has not."""
        if self.then is None or self.then == self.now:
            return None
        if self.now is not None:
            return "has changed"
        here = "" if Path(self.name).is_absolute() else f" (as seen from {Path.cwd()})"
        return f"is not there any more{here}"


@dataclass
class Step:
    """One stage on the way to a result.

    Attributes:
        path: its provenance file.
        facts: the content of that file.
        inputs: what it read.
        differs: reasons why the same command would give another result now, in words.
        notes: other versions of libraries, which do not make a result outdated.
    """

    path: Path
    facts: Json
    inputs: list[Input] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def stage(self) -> str:
        """The stage's name."""
        return str(self.facts["command"])

    @property
    def outputs(self) -> dict[Path, str]:
        """What it made, with SHA-256."""
        made = self.facts.get("outputs", {})
        return {self.path.parent / name: digest for name, digest in made.items()}


def provenance_of(path: Path) -> Path | None:
    """The provenance file of the stage that made a file or folder; None for what no stage made."""
    for candidate in _candidates(path):
        facts = read(candidate)
        if facts is None:
            continue
        outputs = facts.get("outputs")
        made = {(candidate.parent / name).resolve() for name in outputs or {}}
        if not outputs or path.resolve() in made or path.is_dir():
            return candidate
    return None


def _candidates(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path / FILE
        return
    if path.name == FILE or path.name.endswith(f".{FILE}"):
        yield path
        return
    yield beside(path)
    for parent in list(path.parents)[:2]:  # figures and tables lie in folders of the report's
        yield parent / FILE
    for parent in list(path.parents)[:3]:  # what `prepare` fetched lies where it is read
        yield beside(parent.parent / "data" / "report.json")


def steps_to(path: Path, config: Config | None = None) -> list[Step]:
    """All stages on the way to the result of a provenance file, the first ones first.

    Args:
        path: the provenance file.
        config: of the run, to compare options with (default: they are not compared).
    """
    found: dict[Path, Step] = {}

    def visit(path: Path) -> None:
        facts = read(path)
        if path in found or facts is None:
            return
        step = found[path] = Step(path, facts)
        for name, then in facts["inputs"].items():
            made_by = provenance_of(path_of(name)) if then is not None else None
            step.inputs.append(Input(name, then, _digest(name) if then else None, made_by))
            if made_by is not None:
                visit(made_by)
        step.differs = [*_file_differences(step), *_option_differences(step, config)]
        step.notes = [
            f"{name} {then} then, {now} now"
            for name, then in facts["versions"].items()
            if (now := versions_now().get(name)) != then
        ]
        found[path] = found.pop(path)  # after the steps that it depends on

    visit(path)
    return list(found.values())


@cache
def _digest(name: str) -> str | None:
    return sha256(path_of(name))


@cache
def _code_now(stage: str) -> str | None:
    try:
        return code_version(f"gcrm.{stage}")
    except ModuleNotFoundError:
        return None


def _file_differences(step: Step) -> Iterator[str]:
    """Changed code, inputs and outputs of a step."""
    now = _code_now(step.stage)
    if "code" not in step.facts:
        yield "code: its version is not recorded"
    elif step.facts["code"] != now:
        yield f"code of gcrm.{step.stage}: {step.facts['code']} then, {now} now"
    for one in step.inputs:
        if one.change is not None:
            yield f"{one.name} {one.change}"
    for path, digest in step.outputs.items():
        if (here := _digest(str(path))) != digest:
            what = "is not there any more" if here is None else "is not as the stage wrote it"
            yield f"{path} {what}"


def _option_differences(step: Step, config: Config | None) -> Iterator[str]:
    """Options that the config now gives the stage otherwise, and new files that it would read."""
    if config is None or step.stage not in RESULTS:
        return
    path = Path(os.path.relpath(step.path))
    name = path.name.removesuffix(f".{FILE}")
    try:
        # `prepare` has a second result, its folder of problems; no wildcards are in either.
        wildcards = (
            wildcards_of(path.with_name(name), config.folder, step.stage)
            if "{" in RESULTS[step.stage]
            else {}
        )
        now = options(config, step.stage, wildcards).model_dump(mode="json")
    except UserError as error:
        yield f"{step.stage}: {error}"
        return
    except ValueError:  # made outside of the run: the config says nothing about it
        return
    then = step.facts["options"] | {"threads": step.facts["threads"]}
    if step.stage in COMPUTING:
        now["threads"] = config.job(step.stage).threads
    for key, value in now.items():
        if key not in NOT_COMPARED.get(step.stage, ()):
            yield from _difference(f"{step.stage}.{key}", then.get(key), value)
    files: list[Path] = []
    if now.get("completions_data_path") == then.get("completions_data_path"):
        if step.stage == "goals":
            files = config.goal_samples()
        elif wildcards.get("split", PAIRS) != PAIRS:
            files = config.scored_files(wildcards["benchmark"], wildcards["split"])
    yield from (f"{file} is new" for file in files if str(file) not in step.facts["inputs"])


def _difference(what: str, then: Any, now: Any) -> Iterator[str]:
    if _are_texts(then) and _are_texts(now) and set(then) != set(now):
        yield from (f"{what}: {name} is not given any more" for name in then if name not in now)
        yield from (f"{what}: {name} is new" for name in now if name not in then)
    elif then != now:
        yield f"{what}: {then} then, {now} now"


def _are_texts(value: Any) -> bool:
    """Whether it is a list of files, or of names."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def to_rebuild(steps: list[Step]) -> list[Step]:
    """The steps that differ, and all that depend on them."""
    found: list[Step] = []
    for step in steps:
        from_others = {one.made_by for one in step.inputs} & {other.path for other in found}
        if step.differs or from_others:
            found.append(step)
    return found
