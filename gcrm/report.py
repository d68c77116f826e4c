"""The report of a run: tables of all variants and benchmarks, the AUROC figure, and a summary."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gcrm.cli import run_stage
from gcrm.comparison_tables import (
    AUROC,
    Comparisons,
    comparison_rows,
    comparison_table,
    seeds_text,
)
from gcrm.comparison_tables import VOTES as VOTE_DIFFERENCES
from gcrm.comparison_tables import seeds_table as differences_of_seeds
from gcrm.errors import UserError
from gcrm.files import atomic_path, read_json
from gcrm.plots import Point, auroc_figure
from gcrm.preference_tables import preference_rows, preference_section, preference_table
from gcrm.provenance import write_provenance
from gcrm.report_tables import (
    ABOVE_LENGTH,
    OFFICIAL_VOTES,
    VOTES,
    Results,
    auroc_rows,
    auroc_table,
    partial_rows,
    read_results,
    seeds_table,
    voted_cells,
    votes_table,
    voting_rows,
)
from gcrm.settings.report import ReportOptions
from gcrm.tables import comma_separated, fixed_width, markdown

WIDTH = 110
"""Columns of the summary at most."""
SYNTHETIC = (
    "The benchmarks of this run are **synthetic stand-ins** that carry the names of the real ones: "
    "its numbers say that the pipeline works, and nothing about the real benchmarks."
)
AUROC_TEXT = (
    "AUROC of the final reward on one greedy solution a problem, with 95 % intervals (bootstrap "
    "over problems). *Length alone* scores a solution by minus its number of tokens: a reward "
    "model that does not beat it has learnt nothing. Below 0.5, longer solutions are right more "
    "often."
)
SEEDS_TEXT = (
    "The table above averages the seeds, with intervals over seeds and problems. Those below are "
    "of one seed each. Fewer than five seeds say little about other seeds."
)
DIFFERENCES_TEXT = (
    "Variant minus baseline on the same completions, with 95 % intervals (paired bootstrap) and p "
    "(two-sided, corrected over benchmarks by Holm's method). {seeds}"
)
VOTES_TEXT = (
    "% of problems right, with 95 % intervals; ties count in parts. *Q-filtered* drops the samples "
    "whose smallest Q-value is below {threshold}; *chosen t* is a threshold chosen on one half of "
    "the problems and reported on the other, both ways. p: paired test of Q-filtered against "
    "majority, corrected over benchmarks (Holm), the largest of several seeds."
)
OFFICIAL_TEXT = (
    "All correct samples are one answer and win ties, null answers and the greedy solution vote, "
    "and savings count even where all samples are dropped. Most of these numbers are higher by "
    "construction: compare them only with numbers that are counted the same way."
)


def run(options: ReportOptions) -> None:
    """Write report.md, summary.txt, the tables as CSV, and the figure."""
    results = read_results(options.metrics, options.comparisons)
    heldout = read_results(options.heldout_metrics)
    save_dir = Path(options.save_dir)
    title = f"{options.title}: {options.run}" + (
        " (synthetic stand-in)" if options.synthetic else ""
    )
    tables = {}
    if options.metrics:
        _draw(results, save_dir / "auroc", options)
        tables["auroc"] = auroc_rows(results)
        tables["partial_auroc"] = partial_rows(results)
        tables["voting"] = voting_rows(results)
    if results.comparisons.pairs():
        tables["differences"] = comparison_rows(results.comparisons)
    if options.heldout_metrics:
        tables["preference_accuracy"] = preference_rows(heldout)
    for name, rows in tables.items():
        _write(save_dir / f"{name}.csv", comma_separated(rows))
    parts = _benchmark_parts(results) if options.metrics else []
    parts += preference_section(heldout) if options.heldout_metrics else []
    _write(save_dir / "report.md", _report(parts, title, list(tables), options))
    parts = _benchmark_summary(results) if options.metrics else []
    parts += _heldout_summary(heldout) if options.heldout_metrics else []
    _write(save_dir / "summary.txt", summary(parts, title, list(tables), save_dir))
    inputs = [*options.metrics, *options.comparisons, *options.heldout_metrics]
    inputs += [options.data_report] if options.data_report else []
    write_provenance(save_dir / "provenance.json", options, inputs)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _report(results: list[str], title: str, tables: list[str], options: ReportOptions) -> str:
    parts = [f"# {title}"]
    if options.synthetic:
        parts.append(SYNTHETIC)
    parts += results
    if options.data_report is not None:
        parts += ["## Data", _data(options.data_report)]
    parts.append(f"Tables as CSV: {', '.join(f'`{name}.csv`' for name in tables)}.")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _benchmark_parts(results: Results) -> list[str]:
    parts = ["## Reward against correctness (AUROC)", AUROC_TEXT]
    parts += [markdown(auroc_table(results, results.variants)), f"\\{ABOVE_LENGTH}."]
    parts += ["![AUROC of the final reward for each variant and benchmark](auroc.svg)"]
    parts += _reasons(results)
    seeds = seeds_table(results)
    if len(seeds) > 1:
        parts += ["### Every seed", SEEDS_TEXT, markdown(seeds)]
    parts += _differences(results.comparisons)
    if voted_cells(results):
        parts += ["## Votes over samples", VOTES_TEXT.format(threshold=_thresholds(results))]
        parts.append(markdown(votes_table(results, VOTES), texts=2))
        official = votes_table(results, OFFICIAL_VOTES, with_p=False)
        parts += ["### As the authors count", OFFICIAL_TEXT, markdown(official, texts=2)]
    return parts


def _differences(comparisons: Comparisons) -> list[str]:
    """The section on differences; none without variants to compare."""
    if not comparisons.pairs():
        return []
    parts = ["## Differences of variants", DIFFERENCES_TEXT.format(seeds=seeds_text(comparisons))]
    parts += ["AUROC:", markdown(comparison_table(comparisons, AUROC), texts=3)]
    votes = comparison_table(comparisons, VOTE_DIFFERENCES, percent=True)
    if len(votes) > 1:
        parts += ["Votes and tokens saved, in %:", markdown(votes, texts=3)]
    seeds = differences_of_seeds(comparisons)
    if len(seeds) > 1:
        parts += ["AUROC of the reward, each seed:", markdown(seeds, texts=3)]
    return parts


def _reasons(results: Results) -> list[str]:
    """Why a benchmark has no AUROC, once for each."""
    reasons = []
    for benchmark in results.benchmarks:
        estimate = results.any_variant(benchmark, "auroc", "reward")
        if estimate and estimate.get("reason"):
            reasons.append(f"{benchmark}: no AUROC: {estimate['reason']}.")
    return reasons


def _thresholds(results: Results) -> str:
    found = {
        f"{metrics['settings']['filter_threshold']:g}"
        for seeds in results.by_cell.values()
        for metrics in seeds.values()
    }
    return " or ".join(sorted(found))


def _data(path: Path) -> str:
    """What `prepare` found in the data, as a table."""
    found = read_json(path, "prepare")
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a JSON object, `prepare`'s report")
    rows = [["evaluated on", "problems or prompts", "shared with training"]]
    for name, benchmark in found.get("benchmarks", {}).items():
        shared = benchmark.get("shared_with_training", 0)
        rows.append([name, str(benchmark.get("problems", "–")), str(shared)])
    for name, heldout in found.get("heldout", {}).items():
        where = _without_folders(name)
        rows.append([where, str(heldout["questions"]), str(heldout["shared_with_training"])])
    training = [
        f"- {_without_folders(name)}: {source.get('rows', '–')} rows"
        for name, source in found.get("training", {}).items()
    ]
    return "\n".join([markdown(rows), "Training data:", "", *training])


def _without_folders(source: str) -> str:
    """A report is for others to read: the folders of this machine tell them nothing."""
    return Path(source).name if Path(source).is_absolute() else source


def summary(results: list[str], title: str, tables: list[str], save_dir: Path) -> str:
    """The report for the terminal: at most 110 columns, ending with where everything lies."""
    parts = [f"{title}\n{'=' * min(len(title), WIDTH)}\n", *results]
    parts.append(f"\nTables:  {save_dir / 'report.md'}, {{{','.join(tables)}}}.csv beside it\n")
    if "auroc" in tables:
        parts.append(f"Figure:  {save_dir / 'auroc.png'}, auroc.svg\n")
    return "".join(parts)


def _heldout_summary(heldout: Results) -> list[str]:
    parts = ["\nHeld-out pairs with the higher reward on the chosen side, %, with 95 % intervals\n"]
    parts += _blocks(heldout.variants, lambda some: preference_table(heldout, some))
    return [*parts, ABOVE_LENGTH + ".\n"]


def _benchmark_summary(results: Results) -> list[str]:
    parts = ["AUROC of the final reward, with 95 % intervals\n"]
    parts += _blocks(results.variants, lambda some: auroc_table(results, some))
    parts.append(ABOVE_LENGTH + ".\n")
    parts += [line + "\n" for line in _reasons(results)]
    seeds = {variant: len(results.seeds(variant)) for variant in results.variants}
    if max(seeds.values()) > 1:
        counts = ", ".join(f"{variant}: {count}" for variant, count in seeds.items())
        parts.append(f"Averages over seeds ({counts}); each seed is in report.md.\n")
    if voted_cells(results):
        parts.append(
            "\nMajority vote over samples, % of problems right; "
            f"filter: Q >= {_thresholds(results)}\n"
        )
        shown = ["majority", "Q-filtered", "tokens saved"]
        some = {name: VOTES[name] for name in shown}
        parts.append(fixed_width(_clipped(votes_table(results, some))))
        parts.append("p: paired test of Q-filtered against majority, Holm-corrected.\n")
    return parts


def _blocks(
    variants: Sequence[str], table: Callable[[Sequence[str]], list[list[str]]]
) -> list[str]:
    """The table with as many variants side by side as the terminal takes."""
    blocks: list[str] = []
    left = list(variants)
    while left:
        count = len(left)
        text = fixed_width(_clipped(table(left[:count])))
        while count > 1 and _width(text) > WIDTH:
            count -= 1
            text = fixed_width(_clipped(table(left[:count])))
        blocks.append(text)
        left = left[count:]
    return blocks


def _width(text: str) -> int:
    return max(len(line) for line in text.splitlines())


def _clipped(rows: list[list[str]], most: int = 24) -> list[list[str]]:
    return [[cell if len(cell) <= most else cell[: most - 1] + "…" for cell in row] for row in rows]


# --- figure ---


def _draw(results: Results, stem: Path, options: ReportOptions) -> None:
    points = {
        variant: [_point(results, variant, benchmark) for benchmark in results.benchmarks]
        for variant in results.variants
    }
    lengths = [
        results.any_variant(benchmark, "auroc", "length") for benchmark in results.benchmarks
    ]
    title = options.run + (" (synthetic stand-in)" if options.synthetic else "")
    auroc_figure(
        stem,
        f"{title}\nReward against correctness, 95 % intervals",
        results.benchmarks,
        points,
        [None if length is None else length["value"] for length in lengths],
    )


def _point(results: Results, variant: str, benchmark: str) -> Point:
    estimate = results.mean(variant, benchmark, "auroc", "reward")
    if estimate is None:
        return Point(None, None)
    each = results.each(variant, benchmark, "auroc", "reward")
    seeds = tuple(one["value"] for one in each if one["value"] is not None)
    interval = estimate["interval"]
    return Point(
        estimate["value"],
        None if interval is None else (interval[0], interval[1]),
        seeds if len(seeds) > 1 else (),
    )


if __name__ == "__main__":
    raise SystemExit(run_stage(ReportOptions, run))
