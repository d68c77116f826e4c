"""The base of all settings: strict keys, documented fields, safe paths, readable errors."""

import difflib
import json
import os
import re
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
from gcrm.utils.paths import path_of


class Settings(BaseModel):
    """Base of all settings. The docstring under a field is its help text, with unit and default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _can_be_a_path(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse texts that cannot be paths; pydantic takes an empty one for the current folder."""
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
            # A folder of completions, for example, may also hold folders of results.
            if path == read and (role is Role.FILE or its is Role.SOURCE):
                raise ValueError(f"{name} is {other}, too: {path} would be lost; give another path")
            # The hash of a model or data set covers all files in its folder.
            if its is Role.SOURCE and read in path.parents and read.is_dir():
                raise ValueError(f"{name} lies in {other}, which it would change: {path}")
        return self

    def paths(self) -> Iterator[tuple[str, Path, Role]]:
        """The given paths: name of the option, path, and what the stage does with it."""
        for name, field in type(self).model_fields.items():
            role = role_of(field)
            value = getattr(self, name)
            if role is None or value is None:
                continue
            values = value.values() if isinstance(value, dict) else value
            for one in [values] if isinstance(values, str | Path) else values:
                yield name, path_of(one), role


def split_commas(value: Any) -> Any:
    """Take `a,b` for the list `a b`, as the original commands do."""
    if isinstance(value, str):
        value = [value]
    match value:
        case [str(joined)] if "," in joined and not os.path.exists(joined):
            return [part.strip() for part in joined.split(",")]
    return value


def from_json(value: Any) -> Any:
    """Take a text for the JSON object that it is: a command line has no other form of a mapping."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"must be a JSON object ({error})") from None


def flags(settings: Settings, **options: object) -> str:
    """The command-line flags, quoted for a shell, that give a stage these settings.

    Only values that differ from the defaults are given, in alphabetical order, so that the same
    settings always give the same text. Secrets are left out: others can read a command line.

    Args:
        options: further options, or other values; None leaves one out.
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
    """One line for each error: `where: key: what is wrong, and what is expected`."""
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        if problem["type"] == "extra_forbidden":
            message = "unknown key" + _nearest(path, model)
        elif path[-1:] == ["[key]"] and problem["type"] == "literal_error":
            path.pop()  # left is the key of a mapping, such as threads
            known = re.findall("'(.+?)'", problem["ctx"]["expected"])
            message = "unknown key" + _hint(path[-1], known)
        elif problem["type"] == "missing":
            message = "is missing; give it a value"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            if path and not isinstance(problem["input"], dict):
                message += f" (got {problem['input']!r})"
        lines.append(": ".join([where, ".".join(path), message] if path else [where, message]))
    return "\n".join(lines)


def _nearest(path: list[str], model: type[BaseModel]) -> str:
    """The known key that is most like the unknown one at `path`, or all known ones."""
    *parents, name = path
    for parent in parents:
        field = model.model_fields.get(parent)
        if field is None:  # a key of a mapping, whose values are of the model found before
            continue
        kinds = (field.annotation, *parts_of(field.annotation))
        inner = [kind for kind in kinds if _is_model(kind)]
        if not inner:
            return ""
        model = inner[0]
    return _hint(name, list(model.model_fields))


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else "; known are " + ", ".join(known)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
