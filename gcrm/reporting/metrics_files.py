"""The files that `metrics` and `compare` write, read again by the stages after them."""

from pathlib import Path
from typing import Any

from gcrm.utils.errors import UserError
from gcrm.utils.io import read_json

Json = dict[str, Any]


def read_metrics(path: Path) -> Json:
    """The metrics of a model of a run, with its `variant`, `seed` and `benchmark`.

    Raises:
        UserError: no such file, or it says of no model.
    """
    metrics = read_json(path, "metrics")
    if [type(metrics.get(key)) for key in ("variant", "benchmark", "seed")] != [str, str, int]:
        raise UserError(
            f"{path}: does not name its variant; expected a file that `metrics --output "
            ".../<variant>/seed<k>/<benchmark>.json` wrote"
        )
    return metrics


def read_comparisons_file(path: Path) -> Json:
    """The comparisons of one benchmark, or held-out set.

    Raises:
        UserError: no such file, or it holds none.
    """
    content = read_json(path, "compare")
    if not {"benchmark", "variants", "differences"} <= content.keys():
        raise UserError(f"{path}: no comparisons; expected a file that `compare` wrote")
    return content
