"""Options of `report`: the tables and figures of a run."""

from pathlib import Path

from pydantic import Field

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
    metrics: list[Path] = Field(min_length=1)
    """metrics files: .../<variant>/seed<k>/<benchmark>.json"""
    data_report: Path | None = None
    """what `prepare` found in the data"""
    save_dir: Path
    """folder for report.md and the figures"""
