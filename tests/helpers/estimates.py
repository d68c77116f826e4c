"""Metrics and comparisons files with given numbers, for tests of what reads them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gcrm.stats.estimates import estimates_frame, write_estimates

Numbers = Mapping[str, float | tuple[float, float, float] | None]
"""Value, or value, low and high, by metric; `name at 0.5` for an estimate at a share."""


def estimates(numbers: Numbers, **columns: Any) -> list[dict[str, Any]]:
    """A row for each number, of variant v, seed 0 and benchmark b unless told otherwise."""
    found = []
    for name, number in numbers.items():
        metric, _, at = name.partition(" at ")
        value, low, high = number if isinstance(number, tuple) else (number, None, None)
        row = {"variant": "v", "seed": 0, "benchmark": "b", "split": "greedy", "metric": metric}
        row |= {"at": float(at) if at else None, "value": value, "low": low, "high": high, "n": 9}
        found.append(row | columns)
    return found


def metrics_file(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A metrics file of one model and benchmark, that of its first row."""
    rows = [dict(row) for row in rows]
    path = folder / rows[0]["variant"] / f"seed{rows[0]['seed']}" / f"{rows[0]['benchmark']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_estimates(path, estimates_frame(rows))
    return path


def comparisons_file(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A comparisons file of one benchmark, that of its first row."""
    rows = [dict(row) for row in rows]
    path = folder / f"{rows[0]['benchmark']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_estimates(path, estimates_frame(rows, "compare"))
    return path
