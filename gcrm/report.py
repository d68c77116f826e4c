"""Stage `report`: tables, figures, a page of solutions, and a summary of a run.

Metrics and comparisons files give the numbers, score tables and models the rest.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.config.report import ReportOptions
from gcrm.lineage.provenance import FILE, read_provenance, sha256, write_provenance
from gcrm.reporting.columns import Numbers
from gcrm.reporting.contents import (
    FOR_TOKENS,
    SOLUTIONS,
    figure_files,
    figures,
    table_files,
    tables,
)
from gcrm.reporting.figure_data import FigureData, read_figure_data, scores_file
from gcrm.reporting.figures import FIGURES, can_be_drawn
from gcrm.reporting.formats import html, latex, markdown
from gcrm.reporting.kinds import TABLES
from gcrm.reporting.published import read_published
from gcrm.reporting.results import Results, read_results
from gcrm.reporting.solutions import Filter, Model, solutions_page
from gcrm.reporting.text import Content, report_text, summary
from gcrm.utils.io import atomic_path
from gcrm.utils.logging import Progress


def run(options: ReportOptions) -> None:
    """Write report.md, summary.txt, figures/, tables/ and solutions.html."""
    label = options.run + (" (synthetic stand-in)" if options.synthetic else "")
    base_model = None if options.synthetic else options.base_model
    results = read_results(options.metrics, options.comparisons)
    published = read_published(options.published, base_model)
    folders, more = (options.scores_dir, options.models_dir), (options.goals, options.generated)
    data = read_figure_data(label, results, *folders, *more)
    numbers = Numbers(results, published, options.in_distribution, data.goals, data.generated)
    drawn = [item for item in figures(numbers.scope) if can_be_drawn(data, item)]
    models = _models(options, data)
    content = Content(options, label, numbers, drawn, bool(models))
    texts = dict(_tables(label, numbers))
    if models:
        filter = Filter(options.filter_threshold, options.skip_tokens)
        texts[SOLUTIONS] = solutions_page(f"{label}: solutions", models, options.examples, filter)
    texts |= {"report.md": report_text(content), "summary.txt": summary(content)}
    made: list[Path] = []
    progress = Progress("report", len(drawn), "figure")
    for item in drawn:
        files = [options.save_dir / name for name in figure_files(item)]
        FIGURES[item.kind](data, item, files[0].with_suffix(""))
        made += files
        progress.advance()
    for name, text in texts.items():
        made.append(options.save_dir / name)
        with atomic_path(made[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _discard_others(options.save_dir, made)
    write_provenance(options.save_dir / FILE, options, _inputs(options, results), made)


def _tables(label: str, numbers: Numbers) -> Iterator[tuple[str, str]]:
    """The name and text of all files of tables."""
    for item in tables(numbers.scope):
        kind = TABLES[item.kind]
        cells, rows = kind.cells(numbers), kind.rows(numbers).copy()
        rows.insert(0, "run", label)
        caption = f"{label}: {kind.caption}"
        texts = {
            ".html": html(cells, kind.texts, caption),
            ".md": f"**{caption}**\n\n{markdown(cells, kind.texts)}\n",
            ".tex": latex(cells, kind.texts, caption, item.name),
            ".csv": rows.to_csv(index=False),
        }
        for name in table_files(item):
            yield name, texts[Path(name).suffix]


def _discard_others(folder: Path, made: Collection[Path]) -> None:
    """Remove files of an earlier report that this one lacks, such as figures of a removed variant.

    Files that were changed since, and files of the user, are kept.
    """
    earlier = read_provenance(folder / FILE) or {}
    for name, digest in earlier.get("outputs", {}).items():
        file = folder / name
        if file not in made and file.is_file() and sha256(file) == digest:
            file.unlink()


def _models(options: ReportOptions, data: FigureData) -> list[Model]:
    """The first seed of each variant, for the page of solutions; none without scores and models."""
    if options.scores_dir is None or options.models_dir is None:
        return []
    models = []
    for variant, seeds in data.scores.items():
        seed, summaries = next(iter(seeds.items()))
        ranges = [one.q_range for one in summaries.values() if one.q_range is not None]
        q_range = min([low for low, _ in ranges] or [-1]), max([high for _, high in ranges] or [1])
        scores = {name: scores_file(options.scores_dir, variant, seed, name) for name in summaries}
        models.append(Model(variant, options.models_dir / variant / f"seed{seed}", scores, q_range))
    return models


def _inputs(options: ReportOptions, results: Results) -> Iterator[Path]:
    yield from [*options.metrics, *options.comparisons, *options.goals, *options.generated]
    for variant in results.variants:
        for seed in results.seeds(variant):
            if options.scores_dir is not None:
                for benchmark in results.benchmarks():
                    yield scores_file(options.scores_dir, variant, seed, benchmark)
            if options.models_dir is not None:
                model = options.models_dir / variant / f"seed{seed}"
                yield model / "training_log.jsonl"
                first = seed == results.seeds(variant)[0]
                if first and options.scores_dir is not None and results.benchmarks():
                    yield from (model / name for name in FOR_TOKENS)
    yield from filter(None, (options.published, options.data_report))


if __name__ == "__main__":
    raise SystemExit(run_stage(ReportOptions, run))
