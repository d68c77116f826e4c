"""Types of options: names, seeds, and paths with their role in a stage."""

import os
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from gcrm.utils.io import duplicates

LONGEST_NAME = 200
"""longest name of a result, in bytes; file systems allow 255, and temporary names are longer"""


class Role(Enum):
    """What a stage does with a path. Without a role it reads the path."""

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
        raise ValueError(
            "is not a regular file, and results are never written into devices or pipes"
        )
    return _named(path)


def _folder(path: Path) -> Path:
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError("is a file; expected a folder")
    if os.path.islink(path) and not os.path.exists(path):
        raise ValueError(f"is a link to {os.readlink(path)}, which is not there")
    # Its lock and its checkpoints lie beside a folder, under its name.
    return _named(path if path.name not in ("", "..") else Path(os.path.realpath(path)))


def _named(path: Path) -> Path:
    if not path.name:
        raise ValueError("has no name; give a folder of its own to the results")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ValueError(f"its name is longer than {LONGEST_NAME} bytes; give a shorter one")
    return path


def server_address(url: str) -> str:
    """The address of a web server, if it is one and holds no key.

    Raises:
        ValueError: it is none; the text does not show it, since it may hold a key.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, say
        is_one = None
    if not is_one:
        raise ValueError("expected an address such as http://127.0.0.1:8000")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "expected an address without user, password, ? and #, since it is logged; a key is "
            "read from the environment variable OPENAI_API_KEY"
        )
    return url


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def _unique(values: list[Any]) -> list[Any]:
    if twice := duplicates(values):
        raise ValueError(f"{twice[0]} is there more than once")
    return values


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""name of a run, a variant or a benchmark; it is a part of paths and cannot leave their folder"""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_no_bool)]
"""seed of random numbers; numpy takes no larger ones"""
Share = Annotated[float, Field(ge=0, lt=1)]
"""a part of a whole, 0 to 1"""
Steps = Annotated[int, Field(ge=-1)]
"""steps between two events; -1: never"""
Cosine = Annotated[float, Field(ge=-1, le=1)]
"""a Q-value"""
Tokens = Annotated[int, Field(ge=0)]
Resamples = Annotated[int, Field(gt=0)]
Source = Annotated[str, Role.SOURCE, AfterValidator(_given)]
"""a model or data: a path, or a name on the hub"""
Unique = AfterValidator(_unique)
"""marks a list without duplicates"""
OutputFile = Annotated[Path, Role.FILE, AfterValidator(_file)]
OutputFolder = Annotated[Path, Role.FOLDER, AfterValidator(_folder)]
OutputParent = Annotated[Path, Role.PARENT, AfterValidator(_folder)]


def role_of(field: FieldInfo) -> Role | None:
    """What a stage does with the paths of a field; None for a field without paths."""
    marks = [*field.metadata, *parts_of(field.annotation)]
    if role := next((mark for mark in marks if isinstance(mark, Role)), None):
        return role
    return Role.READ if holds_paths(field) else None


def holds_paths(field: FieldInfo) -> bool:
    """Whether a field is declared as a path, or as several."""
    return Path in (field.annotation, *parts_of(field.annotation))


def parts_of(annotation: Any) -> list[Any]:
    """All parts of an annotation: Annotated[str, x], str and x for list[Annotated[str, x]]."""
    return [part for arg in get_args(annotation) for part in (arg, *parts_of(arg))]
