"""The report of a run: tables, figures, solutions token by token, and a summary.

Everything is made from metrics files; score tables and models give what metrics do not have.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.report import ReportOptions
from gcrm.lineage.provenance import FILE, read_provenance, sha256, write_provenance
from gcrm.reporting.contents import (
    FOR_TOKENS,
    SOLUTIONS,
    figure_files,
    figures,
    table_files,
    tables,
)
from gcrm.reporting.curves import condense, training_curves
from gcrm.reporting.figure_content import FIGURES, Material, can_be_drawn
from gcrm.reporting.formats import comma_separated, markdown
from gcrm.reporting.published import read_published
from gcrm.reporting.results import Results, read_results
from gcrm.reporting.solutions import Filter, Model, solutions_page
from gcrm.reporting.summary import summary
from gcrm.reporting.table_files import html, latex
from gcrm.reporting.tables import TABLES, Numbers
from gcrm.reporting.text import Content, report_text
from gcrm.utils.io import atomic_path
from gcrm.utils.logging import Progress


def run(options: ReportOptions) -> None:
    """Write report.md, summary.txt, figures/, tables/ and solutions.html."""
    label = options.run + (" (synthetic stand-in)" if options.synthetic else "")
    base_model = None if options.synthetic else options.base_model
    numbers = Numbers(
        read_results(options.metrics, options.comparisons),
        read_results(options.heldout_metrics, options.heldout_comparisons),
        read_published(options.published, base_model),
        options.in_distribution,
    )
    material = _material(options, numbers, label)
    drawn = [part for part in figures(numbers.scope) if can_be_drawn(material, part)]
    progress = Progress("report", len(drawn), "figure")
    made: list[Path] = []

    def write(name: str, text: str) -> None:
        made.append(options.save_dir / name)
        with atomic_path(made[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")

    for part in drawn:
        files = [options.save_dir / name for name in figure_files(part)]
        FIGURES[part.kind](material.of(part), part, files[0].with_suffix(""))
        made += files
        progress.advance()
    for part in tables(numbers.scope):
        table = TABLES[part.kind]
        cells, rows = table.cells(numbers), table.rows(numbers)
        caption = f"{label}: {table.caption}"
        texts = {
            ".html": html(cells, table.texts, caption),
            ".md": f"**{caption}**\n\n{markdown(cells, table.texts)}",
            ".tex": latex(cells, table.texts, caption, part.name),
            ".csv": comma_separated([["run", *rows[0]], *([label, *row] for row in rows[1:])]),
        }
        for name in table_files(part):
            write(name, texts[Path(name).suffix])
    if models := _models(options, material):
        page = solutions_page(
            f"{label}: solutions", models, options.examples, _filter(numbers.results)
        )
        write(SOLUTIONS, page)
    content = Content(options, label, numbers, drawn, bool(models))
    write("report.md", report_text(content))
    write("summary.txt", summary(content))
    _discard_others(options.save_dir, made)
    write_provenance(options.save_dir / FILE, options, _inputs(options, numbers), made)


def _discard_others(folder: Path, made: Collection[Path]) -> None:
    """Remove what an earlier report made and this one does not: figures of a variant that is gone.

    Files that were changed since, or that no report made, are somebody's own and stay.
    """
    earlier = read_provenance(folder / FILE) or {}
    for name, digest in earlier.get("outputs", {}).items():
        file = folder / name
        if file not in made and file.is_file() and sha256(file) == digest:
            file.unlink()


def _material(options: ReportOptions, numbers: Numbers, label: str) -> Material:
    material = Material(label, numbers.results, numbers.heldout, {}, {})
    for variant, seed in numbers.models:
        if options.scores_dir is not None and numbers.results.benchmarks:
            material.scores.setdefault(variant, {})[seed] = {
                benchmark: condense(_scores(options.scores_dir, variant, seed, benchmark))
                for benchmark in numbers.results.benchmarks
            }
        if options.models_dir is not None:
            log = options.models_dir / variant / f"seed{seed}" / "training_log.jsonl"
            material.training.setdefault(variant, {})[seed] = training_curves(log)
    return material


def _scores(folder: Path, variant: str, seed: int, benchmark: str) -> Path:
    return folder / variant / f"seed{seed}" / benchmark / "greedy" / "scores.parquet"


def _models(options: ReportOptions, material: Material) -> list[Model]:
    """The first seed of each variant, for the solutions; none without scores and models."""
    if options.scores_dir is None or options.models_dir is None:
        return []
    models = []
    for variant, seeds in material.scores.items():
        seed, condensed = next(iter(seeds.items()))
        ranges = [one.q_range for one in condensed.values() if one.q_range is not None]
        q_range = min([low for low, _ in ranges] or [-1]), max([high for _, high in ranges] or [1])
        scores = {name: _scores(options.scores_dir, variant, seed, name) for name in condensed}
        models.append(Model(variant, options.models_dir / variant / f"seed{seed}", scores, q_range))
    return models


def _filter(results: Results) -> Filter:
    return Filter(results.settings("filter_threshold")[0], results.settings("skip_tokens")[0])


def _inputs(options: ReportOptions, numbers: Numbers) -> Iterator[Path]:
    yield from [*options.metrics, *options.comparisons]
    yield from [*options.heldout_metrics, *options.heldout_comparisons]
    with_solutions = options.scores_dir is not None and bool(numbers.results.benchmarks)
    for variant, seed in numbers.models:
        if options.scores_dir is not None:
            for benchmark in numbers.results.benchmarks:
                yield _scores(options.scores_dir, variant, seed, benchmark)
        if options.models_dir is not None:
            model = options.models_dir / variant / f"seed{seed}"
            yield model / "training_log.jsonl"
            if with_solutions and seed == numbers.results.seeds(variant)[0]:
                yield from (model / name for name in FOR_TOKENS)
    for path in (options.published, options.data_report):
        if path is not None:
            yield path


if __name__ == "__main__":
    raise SystemExit(run_stage(ReportOptions, run))
