"""Options of `steer`: guided decoding towards a goal state, and what it is compared with."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import Settings, split_commas
from gcrm.config.compute import RewardModelOptions
from gcrm.config.layout import goal_state_file
from gcrm.config.metrics import MetricsSettings
from gcrm.config.represent import Attributes
from gcrm.config.types import OutputFolder, Resamples, Seed, Source, Unique

Method = Literal[
    "likelihood-beam", "reward-best", "reward-beam", "goal-best", "goal-beam", "guided"
]
METHODS: tuple[Method, ...] = get_args(Method)
Measure = Annotated[str, Field(pattern=r"^(correctness|words|count:\S+)$")]


class SteerSettings(Settings):
    """How solutions are searched (sections 4.2.2 and B.2 of the paper)."""

    methods: Annotated[list[Method], BeforeValidator(split_commas), Field(min_length=1), Unique] = (
        list(METHODS)
    )
    """what is compared with plain sampling. guided: the paper's search, by the product over steps
    of P_LM * rho * C; likelihood-beam: the same without C; goal-beam and reward-beam: the same
    search by C or by the partial reward alone; goal-best and reward-best: the best of as many whole
    samples by the C or the reward at their end"""
    step_tokens: int = Field(52, gt=0)
    """most tokens of a step"""
    samples: int = Field(2, gt=0)
    """steps drawn after each beam"""
    beams: int = Field(2, gt=0)
    """solutions that are kept after each step; beams * samples steps are drawn in each round, and
    so many whole samples for the best of them"""
    temperature: float = Field(0.2, gt=0)
    """softmax temperature of all draws; P_LM is that at temperature 1"""
    rho: float = Field(1.0, gt=0)
    """constant factor of each step: above 1 it favours solutions of more steps"""
    max_new_tokens: int = Field(512, gt=0)
    """longest solution, in tokens"""
    batch_size: int = Field(64, gt=0)
    """steps that are drawn together, of several problems"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with solution, in tokens of the reward model"""
    bf16: bool = False
    """compute rewards in bfloat16 on a CPU that has it, too; a GPU that has it always does"""
    measures: Annotated[
        list[Measure], BeforeValidator(split_commas), Field(min_length=1), Unique
    ] = ["correctness", "words"]
    """what a program says of a solution, and a win is to have more of: correctness: the answer is
    right; words: its length; count:<word>: how often it has this word"""
    bootstrap_resamples: Resamples = MetricsSettings.model_fields["bootstrap_resamples"].default
    """resamples of the problems behind each 95 % interval"""
    bootstrap_seed: Seed = MetricsSettings.model_fields["bootstrap_seed"].default
    """seed of the resamples"""


class SteerOptions(SteerSettings, RewardModelOptions):
    """Steer a language model towards the goal states of attributes, by guided decoding.

    Writes the solutions of each method, completions-<method>.jsonl; what a program says of them
    beside plain sampling, results.csv; and the tokens that each method took, costs.csv.
    """

    model: Source
    """language model: folder or hub id"""
    chat_template: Path | None = None
    """Jinja file with a chat template for the language model (default: its own, or, where it has
    none, one with the names of the roles)"""
    goal_state_path: Path
    """folder with goal_state-<attribute>.npy, as `represent --attributes` writes it; without
    attributes: folder with goal_state.npy, or a .npy file"""
    attribute: Attributes = []
    """attributes to steer to, each by itself (default: none, but the goal state of all)"""
    problems: Path
    """JSON lines with question and, for correctness, expected_answer"""
    save_dir: OutputFolder
    """folder for the results"""
    seed: Seed = 0
    """seed of the draws"""

    @property
    def sources(self) -> list[str | Path]:
        """Models and data that the results depend on."""
        template = [] if self.chat_template is None else [self.chat_template]
        goal_states = [] if not self.needs_goal_state else list(self.goal_states().values())
        return [self.model, *template, self.reward_model_path, *goal_states, self.problems]

    @property
    def needs_goal_state(self) -> bool:
        """Whether a method asks for C."""
        return bool({"goal-best", "goal-beam", "guided"} & set(self.methods))

    def goal_states(self) -> dict[str, Path]:
        """The file of each attribute's goal state; "" is the one of all."""
        path = self.goal_state_path
        if path.suffix == ".npy":
            return {"": path}
        return {name: path / goal_state_file(name) for name in self.attribute or [""]}

    @model_validator(mode="after")
    def _attributes_in_a_folder(self) -> "SteerOptions":
        if self.attribute and self.goal_state_path.suffix == ".npy":
            raise ValueError(
                "attribute chooses files in a folder; give the folder as --goal_state_path, or the "
                "file without --attribute"
            )
        return self
