"""Options of `report`: the tables and figures of a run."""

from pathlib import Path

from pydantic import model_validator

from gcrm.settings.base import Settings


class ReportSettings(Settings):
    """What the report says beside the numbers."""

    title: str = "Goal-conditioned reward models"
    """heading of the report"""
    synthetic: bool = False
    """mark every table and figure "synthetic stand-in": the benchmarks are made, not real"""


class ReportOptions(ReportSettings):
    """Put the metrics of a run into a table and a figure."""

    run: str
    """name of the run"""
    metrics: list[Path] = []
    """metrics files of benchmarks: .../<variant>/seed<k>/<benchmark>.json"""
    comparisons: list[Path] = []
    """comparisons of the variants: .../<benchmark>.json; none where there is nothing to compare"""
    heldout_metrics: list[Path] = []
    """metrics files of held-out preference sets: .../<variant>/seed<k>/<held-out set>.json"""
    data_report: Path | None = None
    """what `prepare` found in the data"""
    save_dir: Path
    """folder for report.md and the figures"""

    @model_validator(mode="after")
    def _something_to_report(self) -> "ReportOptions":
        if not (self.metrics or self.heldout_metrics):
            raise ValueError("give --metrics, --heldout_metrics or both")
        return self
