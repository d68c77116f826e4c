"""Options of `export`: a score table as the authors' JSON lines."""

from pathlib import Path

from gcrm.config.base import Settings
from gcrm.config.types import OutputFile


class ExportOptions(Settings):
    """Write a score table as JSON lines with the keys of the original scripts."""

    scores: Path
    """Parquet file that `evaluate` wrote"""
    output: OutputFile
    """JSON lines file; q_values are named cosine_sim, num_tokens num_actions"""
