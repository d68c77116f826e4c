"""Options of `represent`: the goal state of a reward model."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import split_commas
from gcrm.config.compute import ComputeOptions, PassSettings, RewardModelOptions
from gcrm.config.types import OutputFolder, Source, Unique

Attribute = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Attributes = Annotated[list[Attribute], BeforeValidator(split_commas), Unique]


class RepresentSettings(PassSettings):
    """Which states make the goal state."""

    goal_token: Literal["last", "random", "mean"] = "last"
    """state of a completion: last: that of its last token; random: of one token, chosen by hash of
    the text; mean: the mean over its tokens"""
    attributes: Attributes = []
    """numeric columns of the data (helpfulness, say): each gets a goal state of its own,
    goal_state-<attribute>.npy, of the completions with the highest values"""
    attribute_share: float = Field(0.0, ge=0, lt=1)
    """share of the completions that counts as having the highest values, those with equal values
    included; 0: the very highest value alone"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; a longer pair is left out, and counted"""
    max_pairs: int | None = Field(None, gt=0)
    """cap on the pairs, chosen by hash of the prompt (default: all)"""

    @model_validator(mode="after")
    def _share_of_something(self) -> "RepresentSettings":
        if self.attribute_share and not self.attributes:
            raise ValueError("attribute_share does nothing without attributes; name some")
        return self


class RepresentOptions(RepresentSettings, RewardModelOptions, ComputeOptions):
    """Average the last hidden states of the chosen completions: goal_state.npy, (1, hidden_size).

    With --attributes, the data may also be rows of prompt, response and the attributes.
    """

    dataset_path: Annotated[list[Source], BeforeValidator(split_commas), Field(min_length=1)]
    """preference data, or rows of prompt and response: .jsonl or .parquet file, `datasets` folder
    or hub id (both also with :<split>)"""
    save_dir: OutputFolder
    """folder for goal_state.npy and goal_state-<attribute>.npy"""
