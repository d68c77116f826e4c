"""Options of `goals`: goal states of few examples, and what the filter keeps with each."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from gcrm.config.base import split_commas
from gcrm.config.compute import ComputeOptions, PassSettings, RewardModelOptions
from gcrm.config.metrics import MetricsSettings
from gcrm.config.types import Cosine, Name, OutputFile, Source, Tokens, Unique

Size = Annotated[int, Field(gt=0)]


class GoalsSettings(PassSettings):
    """How many examples a goal state needs, and which (the paper's Figure 5 and Table 8)."""

    examples: Annotated[list[Size], Field(min_length=1), Unique] = [
        1,
        10,
        100,
        1000,
        10_000,
        30_000,
    ]
    """numbers of examples; a number that the data do not have becomes all of them"""
    draws: int = Field(3, gt=0)
    """random draws of the examples, and of the random tokens; a larger number of examples has
    those of a smaller one, too"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; a longer example is left out, a longer solution
    loses its end"""
    max_pairs: int | None = Field(None, gt=0)
    """cap on the pairs, chosen by hash of the prompt (default: all)"""
    max_problems: int | None = Field(None, gt=0)
    """cap on the problems of a benchmark, chosen by hash of the question (default: all)"""


class GoalsOptions(GoalsSettings, RewardModelOptions, ComputeOptions):
    """Filter sampled solutions by goal states of few, wrong or mixed examples.

    Goal states of n chosen completions, of n rejected ones, of all chosen and n rejected ones, and
    of random tokens of n chosen ones. For each, how many samples the filter drops, and how many of
    those that it keeps are correct.
    """

    dataset_path: Annotated[list[Source], BeforeValidator(split_commas), Field(min_length=1)]
    """preference data: .jsonl or .parquet file, `datasets` folder, or hub id"""
    completions_data_path: Path
    """folder of samples: <benchmark>/output-rs<k>.jsonl"""
    benchmarks: Annotated[list[Name], Field(min_length=1), Unique]
    """benchmarks whose samples are filtered: names of folders in completions_data_path"""
    filter_threshold: Cosine = MetricsSettings.model_fields["filter_threshold"].default
    """a sample is dropped when its smallest Q-value is below this cosine, -1 to 1"""
    skip_tokens: Tokens = MetricsSettings.model_fields["skip_tokens"].default
    """first tokens of a completion that the filter does not look at"""
    output: OutputFile
    """JSON lines file for the measurements, by whose path the report knows the model:
    .../<variant>/seed<k>.jsonl"""
