"""Options of `metrics`: what the scores are worth, with intervals."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.types import Name, OutputFile, Seed, Unique

PAIR_SETTINGS = ("percentiles", "bootstrap_resamples", "bootstrap_seed")
"""settings that concern preference pairs, too"""
Percentile = Annotated[float, Field(ge=0, le=1)]


class StatisticsSettings(Settings):
    """What `metrics` and `compare` have in common, so that both mean the same by a number."""

    filter_threshold: float = Field(0.0, ge=-1, le=1)
    """a sample is dropped from the vote when its smallest Q-value is below this cosine"""
    skip_tokens: int = Field(5, ge=0)
    """first tokens of a completion that the filter does not look at"""
    percentiles: list[Percentile] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    """shares of a completion after which the partial AUROC is taken, 0 to 1"""
    bootstrap_resamples: int = Field(2_000, gt=0)
    """resamples of the problems behind each 95 % interval"""
    bootstrap_seed: Seed = 0
    """seed of the resamples"""


class MetricsSettings(StatisticsSettings):
    """Which numbers are computed from the scores."""

    correlation_percentiles: list[Percentile] = [0.2, 0.4, 0.6, 0.8]
    """shares of a completion after which Q-values are correlated with partial rewards, 0 to 1"""


OF_SOLUTIONS = tuple(name for name in MetricsSettings.model_fields if name not in PAIR_SETTINGS)
"""settings that concern solutions to problems alone"""


class MetricsOptions(MetricsSettings):
    """Compute AUROC, partial AUROC and majority votes, or preference accuracy, with 95 % intervals.

    Reads what `evaluate` wrote into its save_dir and prints tables; or, with --scores or
    --pair_scores, reads the Parquet files of one benchmark or held-out set and writes --output.
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
    """Parquet file with the scores of the greedy solutions"""
    sample_scores: Path | None = None
    """Parquet file with the scores of the sampled solutions, for the votes"""
    pair_scores: Path | None = None
    """Parquet file with the scores of held-out preference pairs"""
    output: OutputFile | None = None
    """JSON file for the metrics of one benchmark or held-out set"""

    @model_validator(mode="after")
    def _one_way_in(self) -> "MetricsOptions":
        if self.scores is not None and self.pair_scores is not None:
            raise ValueError("give either --scores or --pair_scores")
        if self.scores is not None or self.pair_scores is not None:
            if self.output is None:
                raise ValueError("--scores and --pair_scores need --output")
        elif self.output is not None:
            raise ValueError("--output goes with --scores or --pair_scores")
        if self.scores is None and self.sample_scores is not None:
            raise ValueError("--sample_scores goes with --scores")
        if self.output is not None:
            return self
        if self.eval_results_dir is None or self.model_name is None or not self.benchmarks:
            raise ValueError("give --eval_results_dir, --model_name and --benchmarks, or --scores")
        return self
