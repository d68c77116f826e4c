"""Stage `compare`: variants on the same completions or pairs, with paired differences.

The comparisons are a table of estimates (see `gcrm.stats.compute`). Their p are those of one
benchmark: the report corrects them for their number.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.compare import CompareOptions
from gcrm.config.layout import model_of
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.stats.compute import Model, compare_models
from gcrm.stats.estimates import write_estimates
from gcrm.utils.errors import UserError
from gcrm.utils.logging import Progress


def run(options: CompareOptions) -> None:
    """Compute the metrics of every model, and compare the variants."""
    benchmark, files = _by_model(options.scores, "--scores")
    models = {model: [path] for model, path in files.items()}
    if options.sample_scores:
        other, sampled = _by_model(options.sample_scores, "--sample_scores")
        if other != benchmark or sampled.keys() != files.keys():
            raise UserError(
                f"--sample_scores: {_names(sampled)} on {other}; expected those of --scores: "
                f"{_names(files)} on {benchmark}"
            )
        models = {model: [path, sampled[model]] for model, path in files.items()}
    try:
        options.compared(list(dict.fromkeys(variant for variant, _ in files)))
    except ValueError as error:
        raise UserError(f"--baseline, --pairs: {error}") from None
    progress = Progress(f"compare {benchmark}", len(models), "model")
    frame = compare_models(
        models, options, options.baseline, options.pairs, benchmark, on_model=progress.advance
    )
    write_estimates(options.output, frame)
    inputs = [*options.scores, *options.sample_scores]
    write_provenance(beside(options.output), options, inputs, [options.output])


def _by_model(paths: Sequence[Path], option: str) -> tuple[str, dict[Model, Path]]:
    """The benchmark, and the file of each model, of `.../<variant>/seed<k>/<benchmark>/<split>/`.

    Raises:
        UserError: a path names no model, or two name the same one, or several benchmarks.
    """
    found: dict[Model, Path] = {}
    benchmarks: list[str] = []
    for path in paths:
        folder = path.parent.parent  # of the benchmark
        variant, seed = model_of(folder.parent).values()
        if seed is None:
            raise UserError(
                f"{option}: {path}: does not name its model; expected "
                ".../<variant>/seed<k>/<benchmark>/<split>/scores.parquet"
            )
        model = variant, seed
        if model in found:
            raise UserError(f"{option}: {path}: a second file of {_names([model])}")
        found[model] = path
        benchmarks.append(folder.name)
    if len(set(benchmarks)) > 1:
        names = ", ".join(sorted(set(benchmarks)))
        raise UserError(f"{option}: files of several benchmarks ({names}); compare one at a time")
    return benchmarks[0], found


def _names(models: Iterable[Model]) -> str:
    return ", ".join(f"{variant}, seed {seed}" for variant, seed in models)


if __name__ == "__main__":
    raise SystemExit(run_stage(CompareOptions, run))
