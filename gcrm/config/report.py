"""Options of `report`: the tables and figures of a run."""

from pathlib import Path

from pydantic import Field

from gcrm.config.base import Settings
from gcrm.config.types import Cosine, OutputFolder, Source, Tokens


class ReportSettings(Settings):
    """What the report says beside the numbers."""

    title: str = "Goal-conditioned reward models"
    """heading of the report; the name of the run is added"""
    synthetic: bool = False
    """mark every table and figure "synthetic stand-in": the benchmarks are made, not real"""
    in_distribution: list[str] = []
    """benchmarks whose problems are like those of the preference pairs; means are over these and
    over the others (default: over all)"""
    examples: int = Field(1, ge=0)
    """right solutions of each benchmark to show token by token, and as many wrong ones"""


class ReportOptions(ReportSettings):
    """Put the metrics of a run into tables and figures."""

    run: str
    """name of the run"""
    metrics: list[Path] = Field(min_length=1)
    """metrics files of benchmarks and held-out preference sets:
    .../<variant>/seed<k>/<benchmark>.json"""
    comparisons: list[Path] = []
    """comparisons of the variants: .../<benchmark>.json; needed with several seeds, since they
    have the averages over seeds"""
    goals: list[Path] = []
    """measurements of goal states: .../<variant>/seed<k>.jsonl (default: none)"""
    generated: list[Path] = []
    """what `generate` measured: .../<variant>/seed<k>/<benchmark>/estimates.json (default: none)"""
    filter_threshold: Cosine = 0.0
    """the filter's threshold in `metrics`, for the page of solutions and the texts"""
    skip_tokens: Tokens = 5
    """first tokens of a completion that the filter does not look at"""
    scores_dir: Path | None = None
    """folder of <variant>/seed<k>/<benchmark>/greedy/scores.parquet (default: fewer figures)"""
    models_dir: Path | None = None
    """folder of the reward models <variant>/seed<k>/ (default: fewer figures)"""
    base_model: Source | None = None
    """what the reward models were made from; numbers published for it stand beside ours"""
    published: Path | None = None
    """numbers published for the same base model: JSON lines, see gcrm/reporting/published.py"""
    data_report: Path | None = None
    """what `prepare` found in the data"""
    save_dir: OutputFolder
    """folder for report.md, figures/, tables/ and solutions.html"""
