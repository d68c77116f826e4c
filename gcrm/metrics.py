"""What the scores are worth: AUROC, partial AUROC and votes of one benchmark, with intervals.

Of a held-out preference set, it is preference accuracy: see `gcrm.stats.preference_metrics`.

The metrics file is one JSON object. Every estimate in it is `{value, interval, n}`, with the 95 %
interval of a bootstrap over problems; where there is no value it is null and `reason` says why. A
section that cannot be made is `{reason}`.
"""

import filecmp
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.cli import run_stage, show
from gcrm.config.metrics import MetricsOptions, MetricsSettings
from gcrm.data.authors_format import authors_files, read_authors_jsonl
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.reporting.metrics_text import describe
from gcrm.stats.bootstrap import (
    Bootstrap,
    Estimate,
    interval,
    ratio_with_interval,
    sum_by,
)
from gcrm.stats.correlation import correlation
from gcrm.stats.measures import auroc_measures
from gcrm.stats.places import LENGTHS, minus, nested
from gcrm.stats.preference_metrics import preference_metrics, read_pairs
from gcrm.stats.vote_metrics import NO_Q_VALUES, vote_metrics
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_json
from gcrm.utils.logging import say

Floats = NDArray[np.float64]
Json = dict[str, Any]


def run(options: MetricsOptions) -> None:
    """Write the metrics of one score table, or print those of a folder of scores."""
    if options.scores is not None and options.output is not None:
        _from_tables(options, options.scores, options.output)
    elif options.pair_scores is not None and options.output is not None:
        _from_pairs(options, options.pair_scores, options.output)
    else:
        _from_folder(options)


def _from_tables(options: MetricsOptions, scores: Path, output: Path) -> None:
    greedy = read_scores(scores, ["predicted_answer", "partial_rewards", "q_values"])
    samples = None
    if options.sample_scores is not None:
        samples = read_scores(options.sample_scores, ["predicted_answer", "q_values"])
    if options.vanilla:
        greedy = greedy.without_q_values()
        samples = None if samples is None else samples.without_q_values()
    write_json(output, origin(output) | benchmark_metrics(greedy, samples, options))
    inputs = [scores] if options.sample_scores is None else [scores, options.sample_scores]
    write_provenance(beside(output), options, inputs, [output])


def _from_pairs(options: MetricsOptions, scores: Path, output: Path) -> None:
    write_json(output, origin(output) | _preferences(options, scores))
    write_provenance(beside(output), options, [scores], [output])


def _preferences(options: MetricsOptions, path: Path) -> Json:
    scores = read_pairs(path)
    return preference_metrics(scores.without_q_values() if options.vanilla else scores, options)


def origin(path: Path) -> Json:
    """Variant, seed and benchmark of `.../<variant>/seed<k>/<benchmark>.json`; null for others."""
    match = re.fullmatch(r"seed(\d+)", path.parent.name)
    return {
        "variant": path.parent.parent.name if match else None,
        "seed": int(match[1]) if match else None,
        "benchmark": path.stem,
    }


def _from_folder(options: MetricsOptions) -> None:
    model_dir = Path(options.eval_results_dir or "") / (options.model_name or "")
    if not model_dir.is_dir():
        raise UserError(f"{model_dir}: no such folder; `evaluate --save_dir` makes it")
    pairs = {name: model_dir / name / "pairs" / "scores.parquet" for name in options.benchmarks}
    pairs = {name: path for name, path in pairs.items() if path.is_file()}
    found = {
        name: _read_folder(model_dir / name, "greedy")
        for name in options.benchmarks
        if name not in pairs
    }
    for name, files in found.items():
        if not files:
            known = sorted(path.name for path in model_dir.iterdir() if path.is_dir())
            raise UserError(
                f"{model_dir / name / 'greedy'}: has no .jsonl file with the scores of benchmark "
                f"{name!r} (there are: {', '.join(known) or 'none'})"
            )
    all_metrics = {}
    for name, files in found.items():
        greedy = read_authors_jsonl(files, "greedy", with_q_values=not options.vanilla)
        sample_files = _sample_files(model_dir / name)
        samples = None
        if sample_files:
            samples = read_authors_jsonl(sample_files, "all", with_q_values=not options.vanilla)
        all_metrics[name] = benchmark_metrics(greedy, samples, options)
        say(f"metrics: {name} done")
    held_out = {name: _preferences(options, path) for name, path in pairs.items()}
    show(describe(options.model_name or "", all_metrics, held_out))


def _read_folder(benchmark_dir: Path, split: str) -> list[Path]:
    return authors_files(benchmark_dir / split)


def _sample_files(benchmark_dir: Path) -> list[Path]:
    """The files of all/ but the greedy one, which the authors' all/ has once more.

    It would vote twice under the official rules, and with the samples under ours. A file is it if
    its name says so, or if it is a copy of that of its name in greedy/.
    """
    greedy = {file.name: file for file in _read_folder(benchmark_dir, "greedy")}

    def is_greedy(file: Path) -> bool:
        other = greedy.get(file.name)
        copied = other is not None and filecmp.cmp(file, other, shallow=False)
        return copied or "greedy" in file.stem

    return [file for file in _read_folder(benchmark_dir, "all") if not is_greedy(file)]


# --- the numbers ---


def benchmark_metrics(
    greedy: ScoreTable, samples: ScoreTable | None, settings: MetricsSettings
) -> Json:
    """All metrics of one benchmark.

    Args:
        greedy: scores of one solution a problem, for AUROC.
        samples: scores of several solutions a problem, for the votes.
        settings: thresholds, percentiles and the bootstrap.
    """
    bootstrap = Bootstrap.over_problems(greedy.prompt, settings)
    no_samples = {"reason": "no sampled solutions: there is one solution a problem only"}
    return {
        "settings": {name: getattr(settings, name) for name in MetricsSettings.model_fields},
        "solutions": {
            "n": len(greedy),
            "problems": bootstrap.problems,
            "truncated": int(greedy.truncated.sum()),
            "correct": _share_correct(greedy, bootstrap).as_json(),
        },
        **_aurocs(greedy, settings, bootstrap),
        "q_value_correlation": _correlation(greedy, settings, bootstrap),
        "voting": no_samples if samples is None else vote_metrics(greedy, samples, settings),
    }


def _share_correct(greedy: ScoreTable, bootstrap: Bootstrap) -> Estimate:
    """Of the rows, resampled by problem."""
    right, rows = (
        sum_by(bootstrap.problem, values, bootstrap.problems)
        for values in (greedy.label, np.ones(len(greedy)))
    )
    return ratio_with_interval(right, rows, bootstrap, n=len(greedy))


def _aurocs(greedy: ScoreTable, settings: MetricsSettings, bootstrap: Bootstrap) -> Json:
    """The sections `auroc` and `partial_auroc`."""
    found: Json = {"partial_auroc": {}} | nested(
        {
            place: Estimate(
                measure.value, interval(measure.replicates), measure.n, measure.reason
            ).as_json()
            for place, measure in auroc_measures(greedy, bootstrap, settings).items()
        }
    )
    no_scores = {"reward": {"reason": "there are no partial rewards"}, "q_value": NO_Q_VALUES}
    columns = {"reward": greedy.partial_rewards, "q_value": greedy.q_values}
    for name, ragged in columns.items():
        if ragged is None or not settings.percentiles:
            none_asked_for = {"reason": "no percentiles were asked for"}
            place = ("partial_auroc", name)
            for section, score in (place, *(minus(place, length) for length in LENGTHS)):
                found[section][score] = no_scores[name] if ragged is None else none_asked_for
    return found


def _correlation(greedy: ScoreTable, settings: MetricsSettings, bootstrap: Bootstrap) -> Json:
    q_values, rewards = greedy.q_values, greedy.partial_rewards
    if q_values is None or rewards is None:
        return NO_Q_VALUES
    result = {}
    for percentile in settings.correlation_percentiles:
        pair = q_values.at_percentile(percentile), rewards.at_percentile(percentile)
        result[f"{percentile:g}"] = {
            "pearson": correlation(*pair, bootstrap, "pearson").as_json(),
            "spearman": correlation(*pair, bootstrap, "spearman").as_json(),
        }
    return result


if __name__ == "__main__":
    raise SystemExit(run_stage(MetricsOptions, run))
