"""Stage `metrics`: what the scores are worth, with intervals.

AUROC, partial AUROC and votes of a benchmark, or preference accuracy of a held-out set, as a table
of estimates (see `gcrm.stats.estimates`) with 95 % intervals of a bootstrap over problems.
"""

import filecmp
from pathlib import Path
from typing import Any

import pandas as pd

from gcrm.cli import run_stage, show
from gcrm.config.layout import model_of
from gcrm.config.metrics import MetricsOptions
from gcrm.data.authors_format import authors_files, read_authors_jsonl
from gcrm.data.scores import ScoreTable
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.reporting.metrics_text import describe
from gcrm.stats.compute import compute_metrics, read_tables
from gcrm.stats.estimates import write_estimates
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say


def run(options: MetricsOptions) -> None:
    """Write the metrics of the score tables of one benchmark, or print those of a folder."""
    if options.scores is None or options.output is None:
        _print_folder(options)
        return
    inputs = [path for path in (options.scores, options.sample_scores) if path is not None]
    tables = read_tables(inputs, options)
    names = model_of(options.output.parent) | {"benchmark": options.output.stem}
    write_estimates(options.output, _metrics(tables, options, **names))
    write_provenance(beside(options.output), options, inputs, [options.output])


def _metrics(tables: list[ScoreTable], options: MetricsOptions, **names: Any) -> pd.DataFrame:
    if options.vanilla:
        tables = [table.without_q_values() for table in tables]
    return compute_metrics(*tables, settings=options, **names)


def _print_folder(options: MetricsOptions) -> None:
    """Print the metrics of what `evaluate --save_dir` wrote."""
    model_dir = Path(options.eval_results_dir or "") / (options.model_name or "")
    if not model_dir.is_dir():
        raise UserError(f"{model_dir}: no such folder; `evaluate --save_dir` makes it")
    found = {name: _files(model_dir, name) for name in options.benchmarks}  # all are there, first
    frames = []
    for name, (greedy, samples) in found.items():
        if greedy[0].suffix == ".parquet":
            tables = read_tables(greedy, options)
        else:
            tables = [read_authors_jsonl(greedy, "greedy", with_q_values=not options.vanilla)]
            if samples:
                sampled = read_authors_jsonl(samples, "all", with_q_values=not options.vanilla)
                tables.append(sampled)
        frames.append(_metrics(tables, options, benchmark=name))
        say(f"metrics: {name} done")
    show(describe(options.model_name or "", pd.concat(frames, ignore_index=True)))


def _files(model_dir: Path, benchmark: str) -> tuple[list[Path], list[Path]]:
    """The files with greedy (or pairs') and with sampled scores of a benchmark.

    The authors' all/ holds the greedy file, too: its name says so, or it is a copy of the file of
    its name in greedy/. It is left out, for it would have two votes under the official rules, and
    one under ours.
    """
    folder = model_dir / benchmark
    pairs = folder / "pairs" / "scores.parquet"
    if pairs.is_file():
        return [pairs], []
    greedy = {file.name: file for file in authors_files(folder / "greedy")}
    if not greedy:
        known = sorted(path.name for path in model_dir.iterdir() if path.is_dir())
        raise UserError(
            f"{folder / 'greedy'}: has no .jsonl file with the scores of benchmark {benchmark!r} "
            f"(there are: {', '.join(known) or 'none'})"
        )

    def is_greedy(file: Path) -> bool:
        other = greedy.get(file.name)
        copied = other is not None and filecmp.cmp(file, other, shallow=False)
        return copied or "greedy" in file.stem

    samples = [file for file in authors_files(folder / "all") if not is_greedy(file)]
    return list(greedy.values()), samples


if __name__ == "__main__":
    raise SystemExit(run_stage(MetricsOptions, run))
