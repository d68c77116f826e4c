"""Digests of what a run has computed, to tell whether another machine computed the same bits.

Contents are hashed, not files, where the writer's version is in the file: weights tensor by tensor,
score tables by their rows. Files that say how and when a result was made are left out.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gcrm.config.layout import OTHERS, RESULTS
from gcrm.config.run import Config
from gcrm.lineage.fingerprint import code_version
from gcrm.lineage.provenance import FILE, versions_now
from gcrm.utils.errors import UserError

Digests = dict[str, Any]
NO_NUMBERS = ("export", "report", "track")
"""stages that only show numbers of others"""
IN_FOLDERS = {".safetensors", ".npy", ".jsonl"}
"""files with numbers or texts in the folder that a stage makes; others have versions and paths"""
DIGITS = 12


def digests_of(config: Config) -> Digests:
    """The digests of all results of a run that are there.

    Returns:
        `config`: a digest of the settings; `versions` of libraries; `code` of each stage; and
        `results`: for each stage, in the order of the data flow, the digest of each file or tensor.
    """
    results = {stage: _of_stage(config.folder, stage) for stage in RESULTS}
    stages = [stage for stage in RESULTS if results[stage]]
    return {
        "config": config_digest(config),
        "versions": versions_now(),
        "code": {stage: code_version(f"gcrm.{stage}") for stage in stages},
        "results": {stage: results[stage] for stage in stages},
    }


def config_digest(config: Config) -> str:
    """A digest of the settings that results depend on."""
    names = {"track", "cost", "report", "gpus"}
    return _digest(config.model_dump_json(exclude=names, exclude_defaults=True).encode())


def first_difference(now: Digests, then: Digests) -> tuple[str, str] | None:
    """The first stage whose results differ, and the file or tensor; None where all are the same.

    Results that are only there now are not compared.
    """
    for stage, results in then["results"].items():
        for name, digest in results.items():
            if now["results"].get(stage, {}).get(name) != digest:
                return stage, name
    return None


def told(now: Digests, then: Digests) -> str:
    """In words: whether the results are identical, or which differ first, and why, as far as it is
    known."""
    if now["config"] != then["config"]:
        return "not compared with the published run: the config has other settings"
    found = first_difference(now, then)
    if found is None:
        number = sum(map(len, then["results"].values()))
        return f"identical to the published run: {number} files and tensors, bit for bit"
    stage, name = found
    reason = _reason(now, then, stage, name)
    return f"not identical to the published run, first in {stage}: {name}; {reason}"


def _reason(now: Digests, then: Digests, stage: str, name: str) -> str:
    """Why a stage may have given another result."""
    if name not in now["results"].get(stage, {}):
        return "it is missing"
    versions = [
        f"{name} {version}, then {then['versions'][name]}"
        for name, version in now["versions"].items()
        if name not in ("gcrm", "python") and then["versions"].get(name, version) != version
    ]
    if versions:
        return f"the libraries differ ({'; '.join(versions)})"
    if now["code"][stage] != then["code"].get(stage):
        return "its code has changed since; if the meaning has not, this is a matter of the CPU"
    return "the code and the libraries are the same, so this is a matter of the CPU"


def _of_stage(folder: Path, stage: str) -> dict[str, str]:
    if stage in NO_NUMBERS:
        return {}
    place = OTHERS["problems"] if stage == "prepare" else RESULTS[stage]
    found: dict[str, str] = {}
    for path in sorted(folder.glob(re.sub(r"\{\w+\}", "*", place))):
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in IN_FOLDERS)
        else:
            files = [] if path.name.endswith(FILE) else [path]
        for file in files:
            name = str(file.relative_to(folder))
            try:
                found |= {f"{name}{part}": digest for part, digest in _digests(file)}
            except Exception as error:  # each library raises kinds of its own
                raise UserError(
                    f"{file}: cannot be read ({error}); delete it, and make it again"
                ) from None
    return found


def _digests(file: Path) -> Iterator[tuple[str, str]]:
    """The digests of a file's parts, each with what is added to the file's name for it."""
    if file.suffix == ".safetensors":
        import safetensors

        read: Any = safetensors.deserialize  # whose types are not declared
        for name, tensor in sorted(read(file.read_bytes())):
            about = f"{tensor['dtype']} {tensor['shape']} ".encode()
            yield f", {name}", _digest(about + bytes(tensor["data"]))
    elif file.suffix == ".parquet":
        import pyarrow.parquet as pq  # takes a moment to import

        yield "", _digest(json.dumps(pq.read_table(file).to_pylist()).encode())
    else:
        yield "", _digest(file.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
