"""Kinds of options: names, seeds, and paths, with what a stage does with them."""

import os
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from gcrm.utils.io import duplicates

LONGEST_NAME = 200
"""bytes of the name of a result; file systems take 255, and temporary names are longer"""


class Role(Enum):
    """What a stage does with a path. One that is given no role is read."""

    READ = "reads it"
    SOURCE = "reads a model or data whole: a path, or a name on the hub"
    FILE = "writes this file"
    FOLDER = "owns this folder, and writes into it"
    PARENT = "writes into folders of their own within this one"

    @property
    def reads(self) -> bool:
        """Whether it is an input."""
        return self in (Role.READ, Role.SOURCE)


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
    if os.path.islink(path) and not os.path.exists(path):
        raise ValueError(f"is a link to {os.readlink(path)}, which is not there")
    # What belongs to a folder (its lock, its checkpoints) lies beside it, under its name.
    return _named(path if path.name not in ("", "..") else Path(os.path.realpath(path)))


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
    if twice := duplicates(values):
        raise ValueError(f"{twice[0]} is there more than once")
    return values


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""of a run, a variant or a benchmark: a part of paths, which cannot lead out of its folder"""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_no_bool)]
"""of random numbers; numpy takes no larger ones"""
Source = Annotated[str, Role.SOURCE, AfterValidator(_given)]
"""a model or data: a path, or a name on the hub"""
Unique = AfterValidator(_unique)
"""of a list: no value is there twice"""
OutputFile = Annotated[Path, Role.FILE, AfterValidator(_file)]
OutputFolder = Annotated[Path, Role.FOLDER, AfterValidator(_folder)]
OutputParent = Annotated[Path, Role.PARENT, AfterValidator(_folder)]


def role_of(field: FieldInfo) -> Role | None:
    """What a stage does with the paths of a field; None for a field that holds none."""
    marks = [*field.metadata, *parts_of(field.annotation)]
    if role := next((mark for mark in marks if isinstance(mark, Role)), None):
        return role
    return Role.READ if holds_paths(field) else None


def holds_paths(field: FieldInfo) -> bool:
    """Whether a field is declared as a path, or as several."""
    return Path in (field.annotation, *parts_of(field.annotation))


def parts_of(annotation: Any) -> list[Any]:
    """All that an annotation is made of: list[Annotated[str, x]] of Annotated…, str and x."""
    return [part for arg in get_args(annotation) for part in (arg, *parts_of(arg))]
