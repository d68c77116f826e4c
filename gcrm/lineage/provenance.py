"""Provenance: a JSON file beside a result with its options, inputs, code and machine.

The result itself has no date in it, so that it stays bit-identical."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gcrm.config.base import Settings
from gcrm.config.types import Role
from gcrm.lineage.fingerprint import code_version
from gcrm.utils.errors import UserError
from gcrm.utils.io import file_sha256, write_json
from gcrm.utils.paths import path_of

LIBRARIES = ("torch", "transformers", "tokenizers", "deepspeed", "datasets", "numpy")
FILE = "provenance.json"
"""name of the file in a folder that a stage makes; see `beside` for single files"""
STARTED = time.time()


def beside(result: Path) -> Path:
    """The provenance file of a single file: <file>.provenance.json."""
    return result.with_name(f"{result.name}.{FILE}")


def write_provenance(
    path: Path,
    options: Settings,
    inputs: Iterable[Path | str] = (),
    outputs: Iterable[Path] = (),
    **extra: Any,
) -> None:
    """Record how a result was made: options, inputs with SHA-256, code, versions, machine.

    Args:
        path: the provenance file, beside the result.
        options: the options of the stage (secrets are masked by their type).
        inputs: files and folders that were read, and hub ids.
        outputs: the files that were made; their SHA-256 shows later whether they were changed. They
            are recorded relative to the folder of `path`.
        extra: further facts, such as the number of pairs that were dropped.
    """
    torch = sys.modules.get("torch")  # only a stage that computes with torch has loaded it
    command = options.__class__.__module__.rpartition(".")[2]
    write_json(
        path,
        {
            "command": command,
            "options": options.model_dump(mode="json"),
            "inputs": {str(name): sha256(path_of(name)) for name in inputs},
            "outputs": {os.path.relpath(one, path.parent): sha256(one) for one in outputs},
            **extra,
            "code": code_version(f"gcrm.{command}"),
            "git": git_state(),
            "versions": versions_now(),
            "device": _device(torch),
            "threads": torch.get_num_threads() if torch else None,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.time() - STARTED, 1),
        },
    )


def check_folders(options: Settings, stage: str) -> None:
    """Refuse to write into a folder of another stage, whose provenance would be lost.

    Raises:
        UserError: it holds the provenance of another stage.
    """
    for name, path, role in options.paths():
        facts = read_provenance(path / FILE) if role is Role.FOLDER else None
        if facts is not None and facts["command"] != stage:
            raise UserError(
                f"--{name}: {path} holds what `{facts['command']}` made; give `{stage}` a folder "
                "of its own"
            )


class _Git(BaseModel):
    commit: str
    changed_since: bool


class _Provenance(BaseModel):
    """The least content of a provenance file; other programs use the same name for theirs."""

    model_config = ConfigDict(extra="allow", strict=True)
    command: str = Field(pattern=r"^[a-z]+$")
    options: dict[str, Any]
    inputs: dict[str, str | None]
    outputs: dict[str, str | None] = {}
    git: _Git | None
    versions: dict[str, str]
    device: str
    threads: int | None
    finished: str
    seconds: float


def read_provenance(path: Path) -> dict[str, Any] | None:
    """The content of a provenance file of gcrm; None for any other file."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stage = _Provenance.model_validate(facts).command
    except (OSError, ValueError, RecursionError):
        return None
    return facts if find_spec(f"gcrm.config.{stage}") else None


def check_goal_state(path: Path, model: str) -> None:
    """Refuse the goal state of another reward model: cosines of two models' states mean nothing.

    A goal state without provenance is accepted, and so is any where one of both models is on a hub.

    Args:
        path: the .npy file, or its folder.
        model: folder or hub id of the reward model that is to use it.

    Raises:
        UserError: by its provenance it was made with other weights.
    """
    made = read_provenance((path if path.is_dir() else path.parent) / FILE)
    if made is None or made["command"] != "represent":
        return
    source = str(made["options"].get("reward_model_path"))
    then, now = made["inputs"].get(source), sha256(path_of(model))
    if None not in (then, now) and then != now:
        same = os.path.realpath(source) == os.path.realpath(model)
        raise UserError(
            f"{path}: is the goal state of another reward model, "
            f"{'the earlier one at this path' if same else source}; make one of {model} with "
            "`represent`"
        )


def sha256(path: Path) -> str | None:
    """Digest of a file, or of a folder's files and their names; None for anything but a local path.

    In a folder, provenance files are left out, since they contain the date, and the card of a
    model, which people edit.
    """
    if path.is_file():
        try:
            now = path.stat()
            return _file_sha256(path, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        except OSError:  # it was removed just now, or is not readable
            return None
    if path.is_dir():
        digest = hashlib.sha256()
        for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
            if file_path.name.endswith(FILE) or file_path.name == "README.md":
                continue
            digest.update(f"{file_path.relative_to(path)} {sha256(file_path)}\n".encode())
        return digest.hexdigest()
    return None


@cache
def _file_sha256(path: Path, *_unchanged: int) -> str:
    """A stage needs the digest of a model, of many GB, up to three times."""
    return file_sha256(path)


def git_state() -> dict[str, Any] | None:
    """Commit of the code, and whether it has been changed since; None outside a git checkout."""
    here = Path(__file__).parent.parent
    try:
        run = [
            subprocess.run(
                ["git", "-C", str(here), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": run[0], "changed_since": bool(run[1])}


@cache
def versions_now() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for library in ("gcrm", *LIBRARIES):
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _device(torch: Any) -> str:
    if torch is not None and torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"CPU {platform.machine()}, {os.cpu_count()} cores"
