"""Stage `track`: the final metrics of a run, in one file and, if asked for, on wandb.

On wandb they stand beside the curve of the training that they are of, and comparisons in a run of
their own. What is turned on after the training reports its curve as well.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.track import TrackOptions, TrackSettings
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.reporting.metrics_files import read_comparisons_file, read_metrics
from gcrm.stats.places import estimates
from gcrm.training.tracking import Report, Wandb, init_of
from gcrm.utils.io import Row, read_json, write_jsonl


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
        Wandb(list(_reports(options, rows))).finish()


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


def _reports(options: TrackOptions, rows: list[Row]) -> Iterator[Report]:
    models: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    differences: dict[str, float] = {}
    for row in rows:
        if "minus" in row:
            name = f"{row['variant']}-{row['minus']}/{row['benchmark']}"
            differences |= {f"{name}/{key}": value for key, value in row["numbers"].items()}
        else:
            summary = models[row["variant"], row["seed"]]
            summary |= {f"{row['benchmark']}/{key}": value for key, value in row["numbers"].items()}
    for (variant, seed), summary in models.items():
        name = f"{variant}/seed{seed}"
        made = Path(options.models_dir or "") / name
        facts = read_json(made / "provenance.json", "train") if options.models_dir else {}
        init = init_of(
            _named(options, name),
            facts.get("tracking_id") or _id(options, name),
            "train",
            facts.get("options", {}),
        )
        curve = str(made / "training_log.jsonl") if options.models_dir else None
        yield Report(init, curve, summary=summary)
    if differences:
        name = "comparisons"
        init = init_of(_named(options, name), _id(options, name), "compare", {})
        yield Report(init, summary=differences)


def _named(options: TrackOptions, name: str) -> TrackSettings:
    return options.model_copy(
        update={"wandb_run_name": f"{options.wandb_run_name or options.run}/{name}"}
    )


def _id(options: TrackOptions, name: str) -> str:
    text = f"{options.output.resolve()} {name}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    raise SystemExit(run_stage(TrackOptions, run))
