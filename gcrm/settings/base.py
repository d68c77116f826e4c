"""What all settings share: strict keys, documented fields, paths with roles, readable errors."""

import difflib
import os
import shlex
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

LONGEST_NAME = 200
"""bytes of the name of a result; file systems take 255, and temporary names are longer"""


class Role(Enum):
    """What a stage does with a path. One that is given no role is read."""

    READ = "reads it"
    SOURCE = "reads a model or data whole: a path, or a name on the hub"
    FILE = "writes this file"
    FOLDER = "writes into this folder"

    @property
    def writes(self) -> bool:
        """Whether what was there before is lost."""
        return self in (Role.FILE, Role.FOLDER)


def _given(source: str) -> str:
    if not source:
        raise ValueError("is empty; give a path, or a name on the hub")
    return source


def _file(path: Path) -> Path:
    if os.path.isdir(path):
        raise ValueError("is a folder; expected a file")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("is no regular file, and results are never written into devices or pipes")
    return _named(path)


def _folder(path: Path) -> Path:
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError("is a file; expected a folder")
    # What belongs to a folder (its lock, its checkpoints) lies beside it, under its name.
    return _named(path if path.name not in ("", "..") else path.resolve())


def _named(path: Path) -> Path:
    if not path.name:
        raise ValueError("has no name; give a folder of its own to the results")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ValueError(f"its name is longer than {LONGEST_NAME} bytes; give a shorter one")
    return path


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def _unique(values: list[Any]) -> list[Any]:
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise ValueError(f"{twice[0]} is there more than once")
    return values


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""of a run, a variant or a benchmark: a part of paths, which cannot lead out of its folder"""
Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=2**32 - 1)]
"""of random numbers; numpy takes no larger ones"""
Source = Annotated[str, Role.SOURCE, AfterValidator(_given)]
"""a model or data: a path, or a name on the hub"""
Unique = AfterValidator(_unique)
"""of a list: no value is there twice"""
OutputFile = Annotated[Path, Role.FILE, AfterValidator(_file)]
OutputFolder = Annotated[Path, Role.FOLDER, AfterValidator(_folder)]


class Settings(BaseModel):
    """Base of all settings. The docstring under a field is its help text, with unit and range."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _can_be_a_path(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what a path cannot be, before an empty one is taken for the folder of now."""
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str | Path) and "\0" in str(text):
                raise ValueError("must not hold the character NUL")
            if text == "" and _holds_paths(cls.model_fields[info.field_name or ""]):
                raise ValueError("is empty; give a path")
        return value

    @model_validator(mode="after")
    def _inputs_stay(self) -> "Settings":
        given = [(name, path.resolve(), role) for name, path, role in self.paths()]
        for (name, path, role), (other, read, its) in product(given, given):
            # Beside completions in their folders, say, there is room for folders of results.
            endangered = not its.writes if role is Role.FILE else its is Role.SOURCE
            if role.writes and endangered and path == read:
                raise ValueError(f"{name} is {other}, too: {path} would be lost; give another path")
        return self

    def paths(self) -> Iterator[tuple[str, Path, Role]]:
        """The paths that are given: name of the option, path, and what the stage does with it."""
        for name, field in type(self).model_fields.items():
            role = _role(field)
            value = getattr(self, name)
            for one in value if isinstance(value, list) else [value]:
                if role is not None and one is not None:
                    yield name, Path(one), role


def _role(field: FieldInfo) -> Role | None:
    marks = [*field.metadata, *_parts(field.annotation)]
    if role := next((mark for mark in marks if isinstance(mark, Role)), None):
        return role
    return Role.READ if _holds_paths(field) else None


def _holds_paths(field: FieldInfo) -> bool:
    return Path in (field.annotation, *_parts(field.annotation))


def split_commas(value: Any) -> Any:
    """`a,b` and `a b` are the same list, as in the original commands."""
    if isinstance(value, str):
        value = [value]
    match value:
        case [str(joined)] if "," in joined and not os.path.exists(joined):
            return [part.strip() for part in joined.split(",")]
    return value


def flags(settings: Settings, **options: object) -> str:
    """The command-line flags, quoted for a shell, that give a stage these settings.

    Only what differs from the defaults is named, in alphabetical order, so that the same settings
    always give the same text; `options` adds the paths and names that a rule knows. Secrets are
    left out: a command line is no place for them.
    """
    secrets = {name for name, value in settings if isinstance(value, SecretStr)}
    chosen = settings.model_dump(mode="json", exclude_defaults=True, exclude=secrets) | options
    words: list[str] = []
    for name, value in sorted(chosen.items()):
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
        elif value is not None:
            values = list(map(str, value)) if isinstance(value, list | tuple) else [str(value)]
            if any(word.startswith("-") for word in values):  # or it would be taken for a flag
                words += [f"--{name}={word}" for word in values]
            else:
                words += [f"--{name}", *values]
    return shlex.join(words)


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> str:
    """All that is wrong, a line each: `where: key: what is wrong, and what is expected`."""
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            message = "unknown key" + _nearest(path, model)
        elif problem["type"] == "missing":
            message = "is missing; give it a value"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            if path and not isinstance(problem["input"], dict):
                message += f" (got {problem['input']!r})"
        lines.append(": ".join([where, ".".join(path), message] if path else [where, message]))
    return "\n".join(lines)


def _nearest(path: list[str], model: type[BaseModel]) -> str:
    """Which known key the unknown one at `path` may be meant for."""
    *parents, name = path
    for parent in parents:
        field = model.model_fields.get(parent)
        if field is None:  # the key of a mapping: its values are of the model found before it
            continue
        inner = [part for part in (field.annotation, *_parts(field.annotation)) if _is_model(part)]
        if not inner:
            return ""
        model = inner[0]
    close = difflib.get_close_matches(name, list(model.model_fields), n=1)
    known = f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(model.model_fields)
    return f"; {known}"


def _parts(annotation: Any) -> list[Any]:
    return [part for arg in get_args(annotation) for part in (arg, *_parts(arg))]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
