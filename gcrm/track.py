"""Stage `track`: writes the final metrics of a run to one file and, on request, to wandb.

On wandb, the metrics of a model are the summary of its training run; comparisons are a run of their
own. A training that was not tracked is reported now, with its curve.
"""

import math
from collections import defaultdict
from typing import Any

import pandas as pd

from gcrm.cli import run_stage
from gcrm.config.track import TrackOptions, TrackSettings
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.stats.estimates import read_all_estimates
from gcrm.training.tracking import WandbRun, connection, init_of, run_id
from gcrm.utils.io import Row, read_json, read_log, write_jsonl


def run(options: TrackOptions) -> None:
    """Write the metrics, and report them to wandb on request."""
    rows = numbers(read_all_estimates(options.metrics), ["variant", "seed", "benchmark"])
    compared = read_all_estimates(options.comparisons, "compare")
    differences = compared[compared["baseline"].notna() & compared["seed"].isna()]
    differences = differences.rename(columns={"baseline": "minus"})
    rows += numbers(differences, ["variant", "minus", "benchmark"])
    write_jsonl(options.output, rows)
    write_provenance(
        beside(options.output),
        options,
        [*options.metrics, *options.comparisons],
        outputs=[options.output],
    )
    if options.wandb_project is not None:
        _report(options, rows)


def numbers(estimates: pd.DataFrame, keys: list[str]) -> list[Row]:
    """One line per model or difference, identified by `keys`, with all estimates that have a value.

    They are named as in {"auroc.reward": 0.71, "partial_auroc.reward@0.5": 0.66}. Filter curves are
    left out, and so are counts, which several splits have under one name.
    """
    left_out = estimates["metric"].str.startswith(("filter_curve.", "num_", "samples_per_problem."))
    found: Any = estimates[estimates["value"].notna() & ~left_out].astype(object)
    lines: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    for row in found.to_dict("records"):
        name = row["metric"] if math.isnan(row["at"]) else f"{row['metric']}@{row['at']:g}"
        lines[tuple(row[key] for key in keys)][name] = row["value"]
    return [dict(zip(keys, key, strict=True)) | {"numbers": line} for key, line in lines.items()]


def _report(options: TrackOptions, rows: list[Row]) -> None:
    """Report to wandb: one run per model, and one for the comparisons."""
    models: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    differences: dict[str, float] = {}
    for row in rows:
        if "minus" in row:
            name = f"{row['variant']}-{row['minus']}/{row['benchmark']}"
            differences |= {f"{name}/{key}": value for key, value in row["numbers"].items()}
        else:
            summary = models[row["variant"], row["seed"]]
            summary |= {f"{row['benchmark']}/{key}": value for key, value in row["numbers"].items()}
    settings = connection()
    for (variant, seed), summary in models.items():
        init, curve = _training(options, f"{variant}/seed{seed}")
        run = WandbRun(init, settings)
        run.log(curve)
        if not run.finish(summary):
            return
    if differences:
        name = "comparisons"
        init = init_of(_named(options, name), run_id(options.output.resolve(), name), "compare", {})
        WandbRun(init, settings).finish(differences)


def _training(options: TrackOptions, name: str) -> tuple[dict[str, Any], list[Row]]:
    """Arguments of `wandb.init` for a model's training, and its log (empty without models_dir)."""
    id, config, curve = run_id(options.output.resolve(), name), {}, []
    if options.models_dir is not None:
        folder = options.models_dir / name
        made = read_json(folder / "provenance.json", "train")
        id, config = made.get("tracking_id") or id, made.get("options", {})
        curve = read_log(folder / "training_log.jsonl")
    return init_of(_named(options, name), id, "train", config), curve


def _named(options: TrackOptions, name: str) -> TrackSettings:
    return options.model_copy(
        update={"wandb_run_name": f"{options.wandb_run_name or options.run}/{name}"}
    )


if __name__ == "__main__":
    raise SystemExit(run_stage(TrackOptions, run))
