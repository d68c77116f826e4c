"""Options of `metrics`: what the scores are worth, with intervals."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.types import Cosine, Name, OutputFile, Resamples, Seed, Tokens, Unique

Percentile = Annotated[float, Field(ge=0, le=1)]


class MetricsSettings(Settings):
    """How the numbers of `metrics` and `compare` are computed from the scores."""

    filter_threshold: Cosine = 0.0
    """a sample is dropped from the vote when its smallest Q-value is below this cosine"""
    skip_tokens: Tokens = 5
    """first tokens of a completion that the filter does not look at"""
    percentiles: list[Percentile] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    """shares of a completion after which the partial AUROC is taken, 0 to 1"""
    top_k: Annotated[list[Annotated[int, Field(ge=1)]], Unique] = [1, 5, 10, 25]
    """numbers of samples with the highest rewards of a problem whose votes are counted"""
    bootstrap_resamples: Resamples = 2_000
    """resamples of the problems behind each 95 % interval"""
    bootstrap_seed: Seed = 0
    """seed of the resamples"""
    correlation_percentiles: list[Percentile] = [0.2, 0.4, 0.6, 0.8]
    """shares of a completion after which Q-values are correlated with partial rewards, 0 to 1"""


class MetricsOptions(MetricsSettings):
    """Compute AUROC, partial AUROC and majority votes, or preference accuracy, with 95 % intervals.

    Reads what `evaluate` wrote into its save_dir and prints tables; or, with --scores, reads the
    Parquet files of one benchmark or held-out set and writes --output.
    """

    model_name: str | None = None
    """folder of the model in eval_results_dir"""
    eval_results_dir: Path | None = None
    """save_dir of `evaluate`"""
    benchmarks: Annotated[list[Name], Unique] = []
    """benchmarks and held-out preference sets to read"""
    vanilla: bool = False
    """the scores have no Q-values: rewards only"""
    scores: Path | None = None
    """Parquet file with the scores of greedy solutions, or of held-out preference pairs"""
    sample_scores: Path | None = None
    """Parquet file with the scores of sampled solutions, for the votes"""
    output: OutputFile | None = None
    """JSON file for the metrics of one benchmark or held-out set"""

    @model_validator(mode="after")
    def _one_way_in(self) -> "MetricsOptions":
        if self.scores is not None and self.output is None:
            raise ValueError("--scores needs --output")
        if self.scores is None:
            if self.output is not None or self.sample_scores is not None:
                raise ValueError("--output and --sample_scores go with --scores")
            if self.eval_results_dir is None or self.model_name is None or not self.benchmarks:
                raise ValueError(
                    "give --eval_results_dir, --model_name and --benchmarks, or --scores"
                )
        return self
