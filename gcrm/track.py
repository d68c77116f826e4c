"""Stage `track`: the final metrics of a run, in one file and, if asked for, on wandb.

On wandb the metrics of a model are the summary of its training run, with the curve; comparisons are
a run of their own. A training that was not tracked is reported now, with its curve.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

from gcrm.cli import run_stage
from gcrm.config.track import TrackOptions, TrackSettings
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.reporting.metrics_files import read_comparisons_file, read_metrics
from gcrm.stats.places import estimates
from gcrm.training.tracking import WandbRun, connection, init_of, run_id
from gcrm.utils.io import Row, read_json, read_jsonl, write_jsonl


def run(options: TrackOptions) -> None:
    """Write the numbers; report them."""
    rows = [
        *(metrics_row(read_metrics(path)) for path in options.metrics),
        *(row for path in options.comparisons for row in comparison_rows(path)),
    ]
    write_jsonl(options.output, rows)
    write_provenance(
        beside(options.output),
        options,
        [*options.metrics, *options.comparisons],
        outputs=[options.output],
    )
    if options.wandb_project is not None:
        _report(options, rows)


def metrics_row(found: Row) -> Row:
    """A line of the file: which model, on which benchmark, and its numbers by their places."""
    origin = {key: found[key] for key in ("variant", "seed", "benchmark")}
    return origin | {"numbers": numbers(found)}


def comparison_rows(path: Path) -> list[Row]:
    """A line for each two variants that a file compares."""
    found = read_comparisons_file(path)
    return [
        {
            "variant": difference["variant"],
            "minus": difference["baseline"],
            "benchmark": found["benchmark"],
            "numbers": numbers(difference),
        }
        for difference in found["differences"]
    ]


def numbers(found: Row) -> dict[str, float]:
    """Every estimate that has a value by its place, as in {"auroc.reward": 0.71}."""
    return {
        ".".join(place): estimate["value"]
        for place, estimate in estimates(found).items()
        if estimate["value"] is not None
    }


def _report(options: TrackOptions, rows: list[Row]) -> None:
    """Report to wandb: a run for each model, and one for the comparisons."""
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
    """The run of a model's training, and its curve; empty where there is no `models_dir`."""
    id, config, curve = run_id(options.output.resolve(), name), {}, []
    if options.models_dir is not None:
        folder = options.models_dir / name
        made = read_json(folder / "provenance.json", "train")
        id, config = made.get("tracking_id") or id, made.get("options", {})
        curve = read_jsonl(folder / "training_log.jsonl")
    return init_of(_named(options, name), id, "train", config), curve


def _named(options: TrackOptions, name: str) -> TrackSettings:
    return options.model_copy(
        update={"wandb_run_name": f"{options.wandb_run_name or options.run}/{name}"}
    )


if __name__ == "__main__":
    raise SystemExit(run_stage(TrackOptions, run))
