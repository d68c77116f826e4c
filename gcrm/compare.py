"""Stage `compare`: variants on the same completions or pairs, with paired differences.

The comparisons file is one JSON object. `variants` has numbers of each variant, where its metrics
file has them, but averaged over its seeds, and with intervals that take seeds in. `differences` has
for each pair of variants the same numbers as a difference, variant minus baseline: value, 95 %
interval, two-sided p, and the value of each seed (see `gcrm.stats.seeds`). The p is that of one
benchmark: the report corrects it for their number.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcrm.cli import run_stage
from gcrm.config.compare import CompareOptions
from gcrm.config.metrics import PAIR_SETTINGS, StatisticsSettings
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.matching import COLUMNS, Completions
from gcrm.stats.measures import CHANGE, LENGTH, Measures, auroc_measures, vote_measures
from gcrm.stats.places import Place, is_minus, nested
from gcrm.stats.preference_measures import Model, preference_measures
from gcrm.stats.seeds import BySeed, difference, over_seeds, seeds_note
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_json
from gcrm.utils.logging import Progress

Json = dict[str, Any]
Measuring = Callable[[ScoreTable, Bootstrap, StatisticsSettings], Measures]


def run(options: CompareOptions) -> None:
    """Measure every model, and compare the variants."""
    of_pairs = bool(options.pair_scores)
    option = "--pair_scores" if of_pairs else "--scores"
    benchmark, files = _by_model(options.pair_scores or options.scores, option)
    sampled: dict[Model, Path] = {}
    if options.sample_scores:
        of, sampled = _by_model(options.sample_scores, "--sample_scores")
        if of != benchmark or sampled.keys() != files.keys():
            raise UserError(
                f"--sample_scores: {_models(sampled)} on {of}; expected those of --scores: "
                f"{_models(files)} on {benchmark}"
            )
    variants = list(dict.fromkeys(variant for variant, _ in files))
    try:
        pairs = options.compared(variants)
    except ValueError as error:
        raise UserError(f"--baseline, --pairs: {error}") from None
    progress = Progress(f"compare {benchmark}", len(files) + len(sampled), "score table")
    columns = ["partial_rewards", "q_values"]
    if of_pairs:
        measured = preference_measures(files, options, progress.advance)
    else:
        measured = _measured(files, columns, auroc_measures, options, progress)
    if sampled:
        votes = _measured(sampled, ["q_values"], vote_measures, options, progress)
        measured = {model: found | votes[model] for model, found in measured.items()}
    by_variant = {
        variant: {seed: found for (name, seed), found in measured.items() if name == variant}
        for variant in variants
    }
    settings = PAIR_SETTINGS if of_pairs else StatisticsSettings.model_fields
    write_json(
        options.output,
        {
            "benchmark": benchmark,
            "settings": {name: getattr(options, name) for name in settings},
            **compared(by_variant, pairs, options.bootstrap_seed),
        },
    )
    write_provenance(
        beside(options.output),
        options,
        [*options.scores, *options.sample_scores, *options.pair_scores],
        [options.output],
    )


def _by_model(paths: Sequence[Path], option: str) -> tuple[str, dict[Model, Path]]:
    """The benchmark, and the file of each model, of `.../<variant>/seed<k>/<benchmark>/<split>/`.

    Raises:
        UserError: a path says of no model, or two of one model or of two benchmarks.
    """
    found: dict[Model, Path] = {}
    benchmarks: list[str] = []
    for path in paths:
        *_, variant, seed, benchmark, _, _ = ("", "", "", "", "", *path.parts)
        match = re.fullmatch(r"seed(\d+)", seed)
        if not match:
            raise UserError(
                f"{option}: {path}: does not name its model; expected "
                ".../<variant>/seed<k>/<benchmark>/<split>/scores.parquet"
            )
        model = variant, int(match[1])
        if model in found:
            raise UserError(f"{option}: {path}: a second file of {_models([model])}")
        found[model] = path
        benchmarks.append(benchmark)
    if len(set(benchmarks)) > 1:
        names = ", ".join(sorted(set(benchmarks)))
        raise UserError(f"{option}: files of several benchmarks ({names}); compare one at a time")
    return benchmarks[0], found


def _models(models: Mapping[Model, Path] | Sequence[Model]) -> str:
    return ", ".join(f"{variant}, seed {seed}" for variant, seed in models)


def _measured(
    paths: Mapping[Model, Path],
    columns: Sequence[str],
    measure: Measuring,
    settings: StatisticsSettings,
    progress: Progress,
) -> dict[Model, Measures]:
    """The numbers of each model: its table is read, put in the order of the first, and let go."""
    found: dict[Model, Measures] = {}
    first: Completions | None = None
    bootstrap: Bootstrap | None = None
    for model, path in paths.items():
        table = read_scores(path, [*COLUMNS, *columns])
        if first is None or bootstrap is None:
            first = Completions(table, path)
            bootstrap = Bootstrap.over_problems(table.prompt, settings)
        found[model] = measure(first.in_order(table, path), bootstrap, settings)
        progress.advance()
    return found


def compared(
    by_variant: Mapping[str, Mapping[int, Measures]],
    pairs: Sequence[tuple[str, str]],
    bootstrap_seed: int,
) -> Json:
    """The sections `variants` and `differences`.

    Args:
        by_variant: for each variant, the numbers of the model of each seed; all on the same
            resamples of the same problems.
        pairs: (variant, baseline), each a key of `by_variant`.
    """
    measured = next(iter(next(iter(by_variant.values())).values()))
    places = [place for place in measured if place != LENGTH]  # the same for all models

    def by_seed(variant: str, place: Place) -> BySeed:
        return {seed: found[place] for seed, found in by_variant[variant].items()}

    variants = {
        variant: _seeds(list(seeds))
        | nested(
            {
                place: over_seeds(by_seed(variant, place), bootstrap_seed, place[-1] == CHANGE)
                for place in places
            }
        )
        for variant, seeds in by_variant.items()
    }
    differences = []
    for variant, baseline in pairs:
        shared = [seed for seed in by_variant[variant] if seed in by_variant[baseline]]
        found = {
            place: difference(by_seed(variant, place), by_seed(baseline, place), bootstrap_seed)
            for place in places
            # What both have in common, the length's part or the vote of all samples, cancels out.
            if not is_minus(place) and place[-1] != CHANGE
        }
        names = {"variant": variant, "baseline": baseline}
        differences.append(names | _seeds(shared) | nested(found))
    return {"variants": variants, "differences": differences}


def _seeds(seeds: list[int]) -> Json:
    note = seeds_note(len(seeds))
    return {"seeds": seeds} | ({"note": note} if note else {})


if __name__ == "__main__":
    raise SystemExit(run_stage(CompareOptions, run))
