"""Options of `generate`: samples that a reward model filters while they are generated."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.compute import ComputeOptions, RewardModelOptions
from gcrm.config.layout import model_of
from gcrm.config.metrics import MetricsSettings
from gcrm.config.types import (
    Cosine,
    Name,
    OutputFolder,
    Resamples,
    Seed,
    Source,
    Tokens,
    Unique,
    server_address,
)

Method = Literal["plain", "q_threshold", "q_worst", "reward_worst"]
"""plain: all samples to their end; q_threshold: drops a sample when its Q-value falls below a
threshold; q_worst, reward_worst: at each check, drop the worst share of the samples that go on, by
Q-value or by partial reward"""
METHODS: tuple[Method, ...] = get_args(Method)


class _Generating(Settings):
    """How samples are generated and filtered."""

    methods: Annotated[list[Method], Field(min_length=1), Unique] = [
        "plain",
        "q_threshold",
        "reward_worst",
    ]
    """plain: all samples to their end; q_threshold: a sample ends when its Q-value falls below a
    threshold; q_worst and reward_worst: at each check, the worst share of the samples of a problem
    ends, by smallest Q-value or by partial reward. With plain and expected answers, the others are
    compared with it"""
    num_samples: int = Field(16, gt=0)
    """samples of each problem that are begun"""
    temperature: float = Field(1.0, gt=0)
    """softmax temperature of the samples"""
    max_new_tokens: int = Field(512, gt=0)
    """longest sample, in tokens; an unfinished one has no answer and counts as wrong"""
    check_every: int = Field(16, gt=0)
    """tokens that are generated between two checks of the reward model"""
    skip_tokens: Tokens = MetricsSettings.model_fields["skip_tokens"].default
    """first tokens of a sample whose Q-values the filter does not look at"""
    threshold: Cosine | None = None
    """Q-value, a cosine, below which q_threshold drops (default: chosen on one half of the problems
    for the other half: the cheapest at which the vote is as accurate as that of all samples)"""
    drop_share: float = Field(0.5, gt=0, lt=1)
    """share of a problem's growing samples that q_worst and reward_worst drop at each check"""
    keep_samples: int = Field(4, gt=0)
    """samples of each problem that are never dropped: the best so far"""
    max_problems: int | None = Field(None, gt=0)
    """cap on the problems, chosen by hash of the question (default: all)"""
    batch_size: int = Field(256, gt=0)
    """samples that are generated together"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with sample for the reward model, in tokens"""
    bf16: bool = False
    """compute in bfloat16 on a CPU that has it, too; a GPU that has it always does"""

    @model_validator(mode="after")
    def _can_be_filtered(self) -> "_Generating":
        if "q_threshold" in self.methods and self.threshold is None and "plain" not in self.methods:
            raise ValueError(
                "q_threshold needs a threshold, or plain among the methods, on whose samples one "
                "is chosen"
            )
        if self.keep_samples > self.num_samples:
            raise ValueError(
                f"keep_samples = {self.keep_samples} is more than num_samples = {self.num_samples}"
            )
        return self


class GenerateSettings(_Generating):
    """Sampling with a filter while it goes on, and what that costs and saves."""

    benchmarks: Annotated[list[Name], Unique] = []
    """benchmarks to generate samples for (default: those with samples)"""


class GenerateOptions(_Generating, RewardModelOptions, ComputeOptions):
    """Sample solutions, and end bad ones while they are generated.

    Writes, for each method, the samples that were kept as output-rs<k>.jsonl, and the vote on each
    problem as votes.jsonl; and for all, estimates.json: the tokens, FLOPs and accuracy of each,
    compared with plain sampling. The time that both models took is in provenance.json.
    """

    model: Source
    """language model that generates: folder or hub id. With server_url, the one that the server
    has: its tokenizer, chat template and config are read here, and no weights"""
    server_url: str | None = None
    """address of a server with OpenAI's /v1/completions that generates (vLLM, SGLang, `transformers
    serve`), such as http://127.0.0.1:8000; a key, where it wants one, is read from the environment
    variable OPENAI_API_KEY (default: the model is run here)"""
    server_model: str | None = None
    """name by which the server knows the model (default: model, as it is given)"""
    server_parallel: int = Field(32, gt=0)
    """requests to the server at once"""
    server_timeout: float = Field(120, gt=0)
    """seconds to wait for an answer of the server; a request is tried six times"""
    chat_template: Path | None = None
    """Jinja file with a chat template for the language model (default: its own, or, where it has
    none, one with the names of the roles)"""
    goal_state_path: Path | None = None
    """goal state (.npy, or the folder with goal_state.npy), for methods by Q-value"""
    problems: Path
    """JSON lines with question and, to say which samples are correct, expected_answer"""
    save_dir: OutputFolder
    """folder for estimates.json, and for <method>/output-rs<k>.jsonl and <method>/votes.jsonl"""
    seed: Seed = 0
    """seed of the samples; one sample is the same with every method"""
    bootstrap_resamples: Resamples = MetricsSettings.model_fields["bootstrap_resamples"].default
    """resamples of the problems behind each 95 % interval"""
    bootstrap_seed: Seed = 0
    """seed of the resamples"""

    @property
    def sources(self) -> list[str | Path]:
        """The models and data that are read."""
        optional = [self.goal_state_path, self.chat_template]
        given = [path for path in optional if path is not None]
        return [self.model, self.reward_model_path, self.problems, *given]

    @property
    def place(self) -> dict[str, str | int | None]:
        """Variant, seed and benchmark of the path .../<variant>/seed<k>/<benchmark>; else null."""
        return model_of(self.save_dir.parent) | {"benchmark": self.save_dir.name}

    @model_validator(mode="after")
    def _has_a_server(self) -> "GenerateOptions":
        given = {name for name in self.model_fields_set if name.startswith("server_")}
        if given and self.server_url is None:
            raise ValueError(f"{min(given)} needs server_url, the address of the server")
        if self.server_url is not None:  # here, since errors of single fields show their values
            try:
                server_address(self.server_url)
            except ValueError as error:
                raise ValueError(f"server_url: {error}") from None
        return self

    @model_validator(mode="after")
    def _has_what_methods_need(self) -> "GenerateOptions":
        by_q_value = [name for name in self.methods if name.startswith("q_")]
        if by_q_value and self.goal_state_path is None:
            raise ValueError(f"{by_q_value[0]} needs --goal_state_path; `represent` makes one")
        return self
