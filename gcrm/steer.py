"""Stage `steer`: steers a language model by guided decoding."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcrm.cli import run_stage, show
from gcrm.config.steer import SteerOptions
from gcrm.lineage.provenance import FILE, write_provenance
from gcrm.lineage.resume import Unfinished
from gcrm.synthetic.labels import labelled
from gcrm.utils.errors import UserError
from gcrm.utils.gpus import take_gpus
from gcrm.utils.io import Row, atomic_folder, read_jsonl, write_jsonl
from gcrm.utils.locks import claim

if TYPE_CHECKING:  # torch is imported late
    from gcrm.decoding.steering import Outcome

NOT_OF_SOLUTIONS = {"save_dir", "methods", "measures", "bootstrap_resamples", "bootstrap_seed"}
"""options on which the solutions of a method do not depend"""


def run(options: SteerOptions) -> None:
    """Answer the problems by each method, measure the solutions, and write both."""
    problems = _read(options)
    from gcrm.decoding.steering import Steering

    with claim(options.save_dir):
        steering = Steering(options)
        unfinished = Unfinished(
            options.save_dir,
            "steer",
            options.model_dump(mode="json", exclude=NOT_OF_SOLUTIONS),
            options.sources,
            *steering.numerics,
        )
        outcomes = steering.solve([row["question"] for row in problems], unfinished)
        _write(options, problems, outcomes)
        unfinished.discard()


def _read(options: SteerOptions) -> list[Row]:
    """The problems.

    Raises:
        UserError: a question is missing or, where correctness is measured, an expected answer.
    """
    texts = ["question"]
    if "correctness" in options.measures:
        texts.append("expected_answer")
    try:
        return read_jsonl(options.problems, texts)
    except UserError as error:
        if "expected_answer" not in str(error):
            raise
        raise UserError(
            f"{error}, which the measure correctness needs; give it, or leave out that measure"
        ) from None


def _write(options: SteerOptions, problems: list[Row], outcomes: "dict[str, Outcome]") -> None:
    import pandas as pd

    from gcrm.decoding.results import costs, results, summary
    from gcrm.decoding.steering import methods_of

    methods = methods_of(options)
    rows = {name: _rows(problems, outcome) for name, outcome in outcomes.items()}
    table = results(
        rows, methods, options.measures, options.bootstrap_resamples, options.bootstrap_seed
    )
    spent = costs(outcomes, methods)
    with atomic_folder(options.save_dir, last=FILE) as folder:
        for name, solutions in rows.items():
            write_jsonl(folder / f"completions-{name}.jsonl", solutions)
        pd.DataFrame(table).to_csv(folder / "results.csv", index=False)
        pd.DataFrame(spent).to_csv(folder / "costs.csv", index=False)
        outputs: list[Path] = sorted(folder.iterdir())
        facts: dict[str, Any] = {"problems": len(problems), "costs": spent}
        write_provenance(folder / FILE, options, options.sources, outputs, **facts)
    for file in options.save_dir.glob("completions-*.jsonl"):
        if file.name not in {output.name for output in outputs}:
            file.unlink()  # of a method of an earlier run
    show(summary(table, spent))


def _rows(problems: list[Row], outcome: "Outcome") -> list[Row]:
    """The rows of a completion file; without an expected answer, none is correct."""
    return [
        labelled({"expected_answer": None} | problem, text, whole)
        for problem, text, whole in zip(problems, outcome.texts, outcome.ends, strict=True)
    ]


if __name__ == "__main__":
    raise SystemExit(run_stage(SteerOptions, run, before=take_gpus))
