"""Run the study of results/study/PLAN.md, cell by cell, as far as it has not been run.

    python -m benchmarks.study --cores 2              # all cells, in the order of the plan
    python -m benchmarks.study --cores 2 centre pairs-1000
    python -m benchmarks.study --summary              # only the page and the figure

A cell is run by the workflow: its training, goal states and scores. Then its tables are written to
results/study/cells/<cell>/, which git keeps; a cell with tables is not run again. After each cell
the page and the figure are made anew. An interrupted run goes on where it was.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from snakemake.utils import update_config

from benchmarks.study import figure, summary, tables
from benchmarks.study.plan import CELLS, CONFIGS, ORDER, ROOT, SHARED, TABLES, comparisons
from gcrm.config.loading import load, read_config
from gcrm.config.run import Config
from gcrm.lineage.provenance import git_state, versions_now
from gcrm.utils.io import write_json

PAGE, FIGURE = Path("results/study/README.md"), Path("docs/when_to_use.png")


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("cells", nargs="*", metavar="cell", help=f"default: {' '.join(ORDER)}")
    parser.add_argument("--cores", default="1", help="CPU cores (default: 1)")
    parser.add_argument("--summary", action="store_true", help="run no cell")
    options = parser.parse_args(words)
    if unknown := [cell for cell in options.cells if cell not in ORDER]:
        parser.error(f"no cell {unknown[0]!r}; there are {', '.join(ORDER)}")
    if not options.summary:
        for cell in options.cells or ORDER:
            if not (TABLES / cell / "differences.csv").is_file():
                run(cell, options.cores)
                summarise()
    summarise()


def run(cell: str, cores: str) -> None:
    """Train and score the models of a cell, and write its tables."""
    centre = config_of("centre")
    data = [*centre.base_model_files(), *centre.preference_files()]
    workflow("centre", cores, [*data, *centre.completion_files("chain", "all")])
    config = config_of(cell)
    workflow(cell, cores, config.score_files("chain", "all"))
    write_tables(cell, config)


def workflow(cell: str, cores: str, targets: Sequence[Path]) -> None:
    """Let Snakemake make files of a cell; ends this process if it cannot."""
    command = ["--cores", cores, "--configfile", SHARED, CONFIGS / f"{cell}.yaml", "--", *targets]
    done = subprocess.run([sys.executable, "-m", "snakemake", *map(str, command)], cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.returncode)


def config_of(cell: str) -> Config:
    """The config of a cell, laid over what all share."""
    given = read_config(ROOT / SHARED)
    update_config(given, read_config(ROOT / CONFIGS / f"{cell}.yaml"))
    return load(given, cell)


def write_tables(cell: str, config: Config) -> None:
    """Write the tables of a cell whose models have been scored."""
    models = [(variant, seed) for variant in config.variants for seed in config.seeds]
    found = tables.measure(dict(zip(models, config.score_files("chain", "all"), strict=True)))
    folder = TABLES / cell
    folder.mkdir(parents=True, exist_ok=True)
    logs = dict(zip(models, config.model_files(["training_log.jsonl"]), strict=True))
    made = {
        "estimates": tables.table_of_estimates(found),
        "training": tables.ends_of_training(logs),
        "differences": tables.table_of_differences(found, comparisons(list(config.variants))),
    }
    facts = {"config": config.model_dump(mode="json", exclude_unset=True)}
    write_json(folder / "provenance.json", facts | {"git": git_state(), "versions": versions_now()})
    for name, table in made.items():  # the one that says that the cell is done comes last
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def summarise() -> None:
    """Make the page and the figure of all measured cells."""
    summary.write_page(TABLES, PAGE)
    estimates = summary.read(TABLES, "estimates")
    if len(estimates) and not CELLS.keys().isdisjoint(estimates["cell"]):
        figure.draw(estimates, FIGURE)


if __name__ == "__main__":
    main()
