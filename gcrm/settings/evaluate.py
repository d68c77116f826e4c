"""Options of `evaluate`: rewards and Q-values of completions."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from gcrm.settings.base import Settings


class EvaluateSettings(Settings):
    """How completions are scored."""

    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; a longer one loses its end, and is marked"""
    max_problems: int | None = Field(None, gt=0)
    """cap on the problems of a benchmark, chosen by hash of the question (default: all)"""
    tokens_per_batch: int = Field(16_384, gt=0)
    """tokens in one forward pass, padding included"""
    goal_attribute: str | None = None
    """use goal_state-<attribute>.npy instead of goal_state.npy (default: goal_state.npy)"""


class EvaluateOptions(EvaluateSettings):
    """Score completions with a reward model: reward, partial rewards and Q-values of every token.

    Writes <save_dir>/<model>/<benchmark>/{greedy,all}/output.jsonl, or, with --output, the scores
    of one benchmark and split as one Parquet file.
    """

    reward_model_path: str
    """reward model: folder or hub id"""
    completions_data_path: Path
    """folder of completions: <benchmark>/output-greedy.jsonl, output-rs<k>.jsonl"""
    benchmarks: list[str] = Field(min_length=1)
    """benchmarks to score: names of folders in completions_data_path"""
    splits: list[Literal["greedy", "all"]] = ["greedy", "all"]
    """greedy: output-greedy.jsonl; all: the samples output-rs<k>.jsonl, where there are any"""
    goal_state_path: Path | None = None
    """goal state (.npy, or the folder with goal_state.npy); gives the Q-values"""
    vanilla: bool = False
    """score without a goal state: rewards only"""
    save_dir: Path | None = None
    """folder for the JSON lines"""
    output: Path | None = None
    """Parquet file for the scores of one benchmark and one split, instead of save_dir"""
    filter_threshold: float = 0.0
    """Q-value below which a sample would be dropped; the share dropped is said at the end"""
    trust_remote_code: bool = False
    """run code that comes with a model from the hub"""

    @model_validator(mode="after")
    def _one_way_out(self) -> "EvaluateOptions":
        if (self.save_dir is None) == (self.output is None):
            raise ValueError("give either --save_dir or --output")
        if self.output is not None and (len(self.benchmarks), len(self.splits)) != (1, 1):
            raise ValueError("--output takes one benchmark and one split")
        if self.vanilla == (self.goal_state_path is not None):
            raise ValueError("give either --goal_state_path or --vanilla")
        if self.goal_attribute is not None:
            if self.goal_state_path is None:
                raise ValueError("goal_attribute does nothing with --vanilla; leave one out")
            if self.goal_state_path.suffix == ".npy":
                raise ValueError(
                    "goal_attribute chooses a file in a folder; give the folder as "
                    "--goal_state_path, or the file without --goal_attribute"
                )
        return self

    @property
    def goal_state_file(self) -> Path | None:
        """The goal state to use: a file, or a folder with goal_state.npy; none for --vanilla."""
        if self.goal_state_path is None or self.goal_attribute is None:
            return self.goal_state_path
        return self.goal_state_path / f"goal_state-{self.goal_attribute}.npy"
