"""What `prepare` found in the data of a run, for the report."""

from pathlib import Path

from gcrm.reporting.formats import markdown
from gcrm.utils.io import read_json


def data_text(path: Path) -> str:
    """Problems of each benchmark, and questions they share with training, in Markdown."""
    found = read_json(path, "prepare")
    rows = [["brought to evaluate on", "problems or prompts", "shared with training"]]
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
    return "\n".join([markdown(rows), "Brought to train on:", "", *training])


def _without_folders(source: str) -> str:
    """A report is for others to read: the folders of this machine tell them nothing."""
    return Path(source).name if Path(source).is_absolute() else source
