"""Stage `policies`: accuracy of trained policies beside each other, and rewards over training."""

from gcrm.cli import run_stage
from gcrm.config.policies import PoliciesOptions
from gcrm.lineage.provenance import FILE, write_provenance
from gcrm.reporting.policies import FIGURE, policies_page, training_figure
from gcrm.stats.policies import accuracies, read_solved
from gcrm.utils.io import atomic_path


def run(options: PoliciesOptions) -> None:
    """Write accuracy.csv, report.md and the figure."""
    solutions, logs = options.files("solutions.jsonl"), options.files("training_log.jsonl")
    base = {file.parent.name: file for file in options.base_solutions}
    found = accuracies(
        read_solved(base, solutions),
        options.in_distribution,
        options.bootstrap_resamples,
        options.bootstrap_seed,
    )
    folder = options.save_dir
    training_figure(logs, folder / FIGURE, options.synthetic)
    texts = {
        "accuracy.csv": found.to_csv(index=False),
        "report.md": policies_page(found, options.synthetic),
    }
    for name, text in texts.items():
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    of_policies = [*solutions.values(), *logs.values()]
    read = [file for files in of_policies for file in files.values()]
    made = [folder / name for name in (*texts, f"{FIGURE}.svg", f"{FIGURE}.png")]
    write_provenance(folder / FILE, options, [*read, *base.values()], made)


if __name__ == "__main__":
    raise SystemExit(run_stage(PoliciesOptions, run))
