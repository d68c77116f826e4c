"""From a result back to raw data: the provenance of all that it was made of, and what differs now.

Each stage wrote a provenance file beside its results, with the SHA-256 of what it read. Files that
no stage made are where it begins: data that a user brought, a base model, or a name on the hub.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gcrm.lineage.fingerprint import code_version
from gcrm.lineage.provenance import FILE, beside, read_provenance, sha256, versions_now

Json = dict[str, Any]

read = cache(read_provenance)
"""Many results are made of the same ones."""


@dataclass(frozen=True)
class Input:
    """Something that a stage read.

    Attributes:
        name: file, folder or name on the hub.
        then: its SHA-256 when it was read; None for a name on the hub.
        now: its SHA-256 now; None if it is not there.
        made_by: the provenance file of the stage that made it; None for what was brought.
    """

    name: str
    then: str | None
    now: str | None
    made_by: Path | None

    @property
    def change(self) -> str | None:
        """What has happened to it since, in words; None if nothing."""
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
        facts: what stands there.
        inputs: what it read.
        differs: why the same command would not do the same now, in words.
        notes: what was otherwise, too, but makes nothing be built again: versions.
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


def steps_to(
    path: Path, settings_now: Callable[[Step], Mapping[str, Any]] | None = None
) -> list[Step]:
    """All stages on the way to the result of a provenance file, the first ones first.

    Args:
        path: the provenance file.
        settings_now: what the current config would give the stage, as its provenance has it;
            None: not compared.
    """
    found: dict[Path, Step] = {}

    def visit(path: Path) -> None:
        facts = read(path)
        if path in found or facts is None:
            return
        step = found[path] = Step(path, facts)
        for name, then in facts["inputs"].items():
            made_by = provenance_of(Path(name)) if then is not None else None
            step.inputs.append(Input(name, then, _digest(name) if then else None, made_by))
            if made_by is not None:
                visit(made_by)
        step.differs = list(_differences(step, settings_now(step) if settings_now else {}))
        step.notes = [
            f"{name} {then} then, {now} now"
            for name, then in facts["versions"].items()
            if (now := versions_now().get(name)) != then
        ]
        found[path] = found.pop(path)  # behind what it was made of

    visit(path)
    return list(found.values())


@cache
def _digest(name: str) -> str | None:
    return sha256(Path(name))


def _differences(step: Step, settings: Mapping[str, Any]) -> Iterator[str]:
    now = _code_now(step.stage)
    if "code" not in step.facts:
        yield "code: not known which it was"
    elif step.facts["code"] != now:
        yield f"code of gcrm.{step.stage}: {step.facts['code']} then, {now} now"
    for one in step.inputs:
        if one.change is not None:
            yield f"{one.name} {one.change}"
    for path, digest in step.outputs.items():
        if (here := _digest(str(path))) != digest:
            what = "is not there any more" if here is None else "is not as the stage wrote it"
            yield f"{path} {what}"
    recorded = step.facts["options"] | {"threads": step.facts["threads"]}
    for key, now in settings.items():
        then, what = recorded.get(key), f"{step.stage}.{key}"
        if key == "inputs":
            yield from (f"{name} is new" for name in now if name not in step.facts["inputs"])
        elif _are_texts(then) and _are_texts(now) and set(then) != set(now):
            yield from (f"{what}: {name} is not given any more" for name in then if name not in now)
            yield from (f"{what}: {name} is new" for name in now if name not in then)
        elif then != now:
            yield f"{what}: {then} then, {now} now"


def _are_texts(value: Any) -> bool:
    """Whether it is a list of files, or of names."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@cache
def _code_now(stage: str) -> str | None:
    try:
        return code_version(f"gcrm.{stage}")
    except ModuleNotFoundError:
        return None


def to_rebuild(steps: list[Step]) -> list[Step]:
    """The steps that differ, and all that rest on them."""
    found: list[Step] = []
    for step in steps:
        from_others = {one.made_by for one in step.inputs} & {other.path for other in found}
        if step.differs or from_others:
            found.append(step)
    return found
