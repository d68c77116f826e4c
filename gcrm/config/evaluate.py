"""Options of `evaluate`: rewards and Q-values of completions."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import split_commas
from gcrm.config.compute import ComputeOptions, PassSettings, RewardModelOptions
from gcrm.config.layout import goal_state_file
from gcrm.config.types import Cosine, Name, OutputFile, OutputParent, Source, Unique
from gcrm.utils.io import duplicates
from gcrm.utils.paths import set_name

OF_BENCHMARKS = (
    "completions_data_path",
    "benchmarks",
    "splits",
    "max_problems",
    "filter_threshold",
)
"""options of solutions to problems; they do nothing for preference pairs"""


class EvaluateSettings(PassSettings):
    """How completions are scored."""

    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; a longer completion loses its end and is marked"""
    max_problems: int | None = Field(None, gt=0)
    """cap on the problems of a benchmark, chosen by hash of the question (default: all)"""
    max_pairs: int | None = Field(None, gt=0)
    """cap on the pairs of a held-out preference set, chosen by hash of the prompt (default: all)"""
    goal_attribute: str | None = None
    """use goal_state-<attribute>.npy instead of goal_state.npy (default: goal_state.npy)"""


class EvaluateOptions(EvaluateSettings, RewardModelOptions, ComputeOptions):
    """Score completions with a reward model: reward, partial rewards and Q-values of every token.

    Writes <save_dir>/<model>/<benchmark>/{greedy,all}/output.jsonl, or, with --output, the scores
    of one benchmark and split as one Parquet file. With --dataset, scores both sides of held-out
    preference pairs instead: <save_dir>/<model>/<name of the file>/pairs/scores.parquet.
    """

    completions_data_path: Path | None = None
    """folder of completions: <benchmark>/output-greedy.jsonl, output-rs<k>.jsonl"""
    benchmarks: Annotated[list[Name], Unique] = []
    """benchmarks to score: names of folders in completions_data_path"""
    splits: Annotated[list[Literal["greedy", "all"]], Unique] = ["greedy", "all"]
    """greedy: output-greedy.jsonl; all: the samples output-rs<k>.jsonl, where there are any"""
    dataset: Annotated[list[Source], BeforeValidator(split_commas)] = []
    """held-out preference data to score: .jsonl or .parquet file, `datasets` folder or hub id (both
    also with :<split>)"""
    goal_state_path: Path | None = None
    """goal state (.npy, or the folder with goal_state.npy); gives the Q-values"""
    vanilla: bool = False
    """score without a goal state: rewards only"""
    save_dir: OutputParent | None = None
    """folder for the scores"""
    output: OutputFile | None = None
    """Parquet file for the scores of one benchmark and split or one dataset, instead of save_dir"""
    filter_threshold: Cosine = 0.0
    """Q-value below which a sample would be dropped; the share dropped is said at the end"""

    @model_validator(mode="after")
    def _one_way_out(self) -> "EvaluateOptions":
        if (self.save_dir is None) == (self.output is None):
            raise ValueError("give either --save_dir or --output")
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

    @model_validator(mode="after")
    def _one_kind_of_data(self) -> "EvaluateOptions":
        if self.dataset:
            if idle := [name for name in OF_BENCHMARKS if name in self.model_fields_set]:
                raise ValueError(f"--{idle[0]} does nothing with --dataset; remove one of them")
            if self.output is not None and len(self.dataset) != 1:
                raise ValueError("--output takes one dataset")
            if twice := duplicates(map(set_name, self.dataset)):
                raise ValueError(
                    f"two of --dataset are named {twice[0]!r}; rename one of the files"
                )
            return self
        if self.completions_data_path is None or not self.benchmarks:
            raise ValueError("give --completions_data_path and --benchmarks, or --dataset")
        if self.max_pairs is not None:
            raise ValueError("--max_pairs does nothing without --dataset; remove it")
        if self.output is not None and (len(self.benchmarks), len(self.splits)) != (1, 1):
            raise ValueError("--output takes one benchmark and one split")
        return self

    @property
    def model_sources(self) -> list[str | Path]:
        """The reward model, and the goal state where there is one."""
        goal_state = self.goal_state_file
        return [self.reward_model_path, *([] if goal_state is None else [goal_state])]

    @property
    def goal_state_file(self) -> Path | None:
        """The goal state to use; none for --vanilla."""
        path = self.goal_state_path
        if path is None or path.suffix == ".npy" or path.is_file():
            return path
        return path / goal_state_file(self.goal_attribute)
