"""Where the files of a run lie: one template a result, relative to the folder of the run.

The rules, `options()` and `trace` take all paths from here, so that a path says which stage made
the file, and of which variant, seed, benchmark and split it is.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Split = Literal["greedy", "all"]
"""of solutions: greedy decoding (output-greedy.jsonl), or all samples (output-rs<k>.jsonl)"""
PAIRS = "pairs"
"""the split of a held-out preference set"""
MAX_SAMPLE = 2**31 - 1
"""largest k of a file output-rs<k>.jsonl; score tables store int32"""

RESULTS = {
    "prepare": "data/report.json",
    "pretrain": "base_model",
    "sample": "completions/{problem_set}",
    "pair": "preferences/pairs.jsonl",
    "train": "models/{variant}/seed{seed}",
    "policy": "policies/{policy}/seed{seed}",
    "represent": "goal_states/{variant}/seed{seed}",
    "evaluate": "scores/{variant}/seed{seed}/{benchmark}/{split}/scores.parquet",
    "goals": "goals/{variant}/seed{seed}.jsonl",
    "generate": "generate/{variant}/seed{seed}/{benchmark}",
    "export": "scores/{variant}/seed{seed}/{benchmark}/{split}/output.jsonl",
    "metrics": "metrics/{variant}/seed{seed}/{benchmark}.json",
    "compare": "comparisons/{benchmark}.json",
    "policies": "policy_report",
    "report": "report",
    "track": "tracking/metrics.jsonl",
}
"""stage: its result, a file or a folder"""
OTHERS = {
    "problems": "problems",
    "downloads": "downloads",
    "preferences": "preferences/{name}.jsonl",
    "completions": "completions",
    "scores": "scores",
    "models": "models",
    "checkpoints": "checkpoints/{variant}/seed{seed}",
    "policy_checkpoints": "checkpoints/policies/{policy}/seed{seed}",
    "curve": "tracking/{variant}-seed{seed}.jsonl",
}
"""what a stage reads or writes beside its result"""
CHECKPOINT = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""files of a model that transformers needs to load it"""
FACTS = "reward_model.json"
"""what `train` says of a reward model, beside its weights"""


def place(folder: Path, what: str, wildcards: Mapping[str, object] | None = None) -> Path:
    """The path of a result or folder of the run in `folder`.

    Args:
        what: a key of RESULTS or OTHERS.
        wildcards: values of the template's fields (default: the fields stay, for a rule).
    """
    template = (RESULTS | OTHERS)[what]
    return folder / (template if wildcards is None else template.format_map(wildcards))


def wildcards_of(path: Path, folder: Path, stage: str) -> dict[str, str]:
    """The wildcards in a path that is a result of a stage, lies in one, or is a parent of one.

    Args:
        folder: of the run.

    Raises:
        ValueError: the stage has no result there.
    """
    found: dict[str, str] = {}
    templates = RESULTS[stage].split("/")
    if not path.is_relative_to(folder):
        raise ValueError(f"{path}: no result of {stage}")
    for template, part in zip(templates, path.relative_to(folder).parts, strict=False):
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(template))
        if (match := re.fullmatch(pattern, part)) is None:
            raise ValueError(f"{path}: no result of {stage}")
        found |= match.groupdict()
    return found


def model_of(folder: Path) -> dict[str, Any]:
    """Variant and seed of a folder .../<variant>/seed<k>; both null for any other."""
    match = re.fullmatch(r"seed(\d+)", folder.name)
    if match is None:
        return {"variant": None, "seed": None}
    return {"variant": folder.parent.name, "seed": int(match[1])}


def goal_state_file(attribute: str | None = None) -> str:
    """Name of the file of a goal state: of an attribute, or the joint one."""
    return f"goal_state-{attribute}.npy" if attribute else "goal_state.npy"


def completion_files(folder: Path, benchmark: str, split: Split) -> list[Path]:
    """The files of a split, samples in the order of their numbers; empty where there are none."""
    home = Path(folder) / benchmark
    if split == "greedy":
        file = home / "output-greedy.jsonl"
        return [file] if file.is_file() else []
    numbered = [(sample_number(file), file) for file in home.glob("output-rs*.jsonl")]
    return [file for number, file in sorted(numbered) if number >= 0]


def sample_number(file: Path) -> int:
    """The k of a file output-rs<k>.jsonl; -1 for any other name."""
    match = re.fullmatch(r"output-rs(\d+)\.jsonl", file.name)
    return int(match[1]) if match else -1


def discard_samples(folder: Path, kept: int) -> None:
    """Remove files of samples beyond the first `kept`, left by an earlier run that had more.

    A reader of the folder would take them for samples of this run.
    """
    for file in folder.glob("output-rs*.jsonl"):
        if sample_number(file) >= kept:
            file.unlink()
