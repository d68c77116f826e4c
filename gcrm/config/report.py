"""Options of `report`: the tables and figures of a run."""

from pathlib import Path

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.types import OutputFolder, Source


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
    metrics: list[Path] = []
    """metrics files of benchmarks: .../<variant>/seed<k>/<benchmark>.json"""
    comparisons: list[Path] = []
    """comparisons of the variants: .../<benchmark>.json; none where there is nothing to compare"""
    heldout_metrics: list[Path] = []
    """metrics files of held-out preference sets: .../<variant>/seed<k>/<held-out set>.json"""
    heldout_comparisons: list[Path] = []
    """comparisons of held-out preference sets: <set>.json"""
    scores_dir: Path | None = None
    """folder of <variant>/seed<k>/<benchmark>/greedy/scores.parquet (default: fewer figures)"""
    models_dir: Path | None = None
    """folder of the reward models <variant>/seed<k>/ (default: fewer figures)"""
    base_model: Source | None = None
    """what the reward models were made from; numbers published for it stand beside ours"""
    published: Path | None = None
    """published numbers: JSON lines, see gcrm/reporting/published.py"""
    data_report: Path | None = None
    """what `prepare` found in the data"""
    save_dir: OutputFolder
    """folder for report.md, figures/, tables/ and solutions.html"""

    @model_validator(mode="after")
    def _something_to_report(self) -> "ReportOptions":
        if not (self.metrics or self.heldout_metrics):
            raise ValueError("give --metrics, --heldout_metrics or both")
        return self
