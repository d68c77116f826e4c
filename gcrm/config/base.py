"""What all settings share: strict keys, documented fields, inputs that stay, readable errors."""

import difflib
import json
import os
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gcrm.config.types import Role, holds_paths, parts_of, role_of


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
            if text == "" and holds_paths(cls.model_fields[info.field_name or ""]):
                raise ValueError("is empty; give a path")
        return value

    @model_validator(mode="after")
    def _inputs_stay(self) -> "Settings":
        given = [(name, Path(os.path.realpath(path)), role) for name, path, role in self.paths()]
        for (name, path, role), (other, read, its) in product(given, given):
            if role.reads or not its.reads:
                continue
            # Beside completions in their folders, say, there is room for folders of results.
            if path == read and (role is Role.FILE or its is Role.SOURCE):
                raise ValueError(f"{name} is {other}, too: {path} would be lost; give another path")
            # A model, or data, counts by all that is in its folder.
            if its is Role.SOURCE and read in path.parents and read.is_dir():
                raise ValueError(f"{name} lies in {other}, which it would change: {path}")
        return self

    def paths(self) -> Iterator[tuple[str, Path, Role]]:
        """The paths that are given: name of the option, path, and what the stage does with it."""
        for name, field in type(self).model_fields.items():
            role = role_of(field)
            value = getattr(self, name)
            if role is None or value is None:
                continue
            values = value.values() if isinstance(value, dict) else value
            for one in [values] if isinstance(values, str | Path) else values:
                yield name, Path(one), role


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
        elif isinstance(value, dict):
            words += [f"--{name}", json.dumps(value)]
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
        kinds = (field.annotation, *parts_of(field.annotation))
        inner = [kind for kind in kinds if _is_model(kind)]
        if not inner:
            return ""
        model = inner[0]
    close = difflib.get_close_matches(name, list(model.model_fields), n=1)
    known = f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(model.model_fields)
    return f"; {known}"


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
