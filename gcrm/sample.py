"""Stage `sample`: generates solutions to a set of problems, and labels them.

A base model solves them, or a program that errs with a given probability and knows where.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from gcrm.cli import run_stage
from gcrm.config.layout import discard_samples
from gcrm.config.sample import SampleOptions
from gcrm.lineage.provenance import write_provenance
from gcrm.synthetic.labels import labelled
from gcrm.synthetic.solver import Solution, solve
from gcrm.utils.errors import UserError
from gcrm.utils.gpus import take_gpus
from gcrm.utils.io import Row, read_jsonl, write_jsonl
from gcrm.utils.logging import Progress, say

if TYPE_CHECKING:
    from gcrm.decoding.sampling import Generated


def run(options: SampleOptions) -> None:
    """Write output-greedy.jsonl, and output-rs<k>.jsonl for each k below `num_samples`.

    Raises:
        UserError: a problem cannot be read, or the program cannot solve it.
    """
    if options.error_rate is not None:
        problems = read_jsonl(options.problems, texts=("question", "expected_answer", "solution"))
        _write(_solved_by_program(problems, options, options.error_rate), options)
    else:
        problems = read_jsonl(options.problems, texts=("question", "expected_answer"))
        _write(_solved_by_model(problems, options), options)


def _solved_by_program(
    problems: Sequence[Row], options: SampleOptions, rate: float
) -> dict[str, list[Row]]:
    """The rows of each file, with the ends and values of all steps."""
    files = {}
    for name in ["greedy", *(f"rs{k}" for k in range(options.num_samples))]:
        rng = random.Random(f"{_seed(options)} {name}")
        found = []
        for number, problem in enumerate(problems, start=1):
            try:
                found.append(solve(problem["solution"], rate, options.error_place, rng))
            except ValueError as error:
                raise UserError(
                    f"{options.problems}, row {number}: solution: {error}; a program solves only "
                    "problems of the family chain"
                ) from None
        files[name] = [
            row | {"step_ends": solution.step_ends, "step_values": solution.step_values}
            for row, solution in zip(label(problems, found), found, strict=True)
        ]
    return files


def _solved_by_model(problems: Sequence[Row], options: SampleOptions) -> dict[str, list[Row]]:
    """The rows of each file."""
    assert options.model is not None  # the options model ensures it
    from gcrm.decoding.sampling import generate
    from gcrm.modeling.loading import load_generator

    model, tokenizer = load_generator(
        options.model, options.chat_template, options.trust_remote_code
    )
    questions = [problem["question"] for problem in problems]
    drawn = questions * options.num_samples
    batches = sum(math.ceil(len(texts) / options.batch_size) for texts in (questions, drawn))
    progress = Progress(f"sample {options.save_dir.name}", batches, "batch")
    solve = partial(
        generate,
        model,
        tokenizer,
        max_new_tokens=options.max_new_tokens,
        batch_size=options.batch_size,
        seed=_seed(options),
        advance=progress.advance,
    )
    greedy = solve(questions, temperature=None)
    files = {"greedy": label(problems, greedy)}
    samples = solve(drawn, temperature=options.temperature)
    for k in range(options.num_samples):
        part = samples[k * len(problems) : (k + 1) * len(problems)]
        files[f"rs{k}"] = label(problems, part)
    return files


def _write(files: dict[str, list[Row]], options: SampleOptions) -> None:
    """Write the files of solutions, and report how many are correct."""
    paths = {split: options.save_dir / f"output-{split}.jsonl" for split in files}
    for split, path in paths.items():
        write_jsonl(path, files[split])
    discard_samples(options.save_dir, options.num_samples)
    shares = [sum(row["is_correct"] for row in rows) / len(rows) for rows in files.values()]
    text = f"sample {options.save_dir.name}: {shares[0]:.1%} of the greedy solutions correct"
    say(text + (f", {sum(shares[1:]) / len(shares[1:]):.1%} of the samples" if shares[1:] else ""))
    write_provenance(
        options.save_dir / "provenance.json",
        options,
        inputs=[options.problems, *options.sources],
        outputs=list(paths.values()),
    )


def label(problems: Sequence[Row], solutions: "Sequence[Generated | Solution]") -> list[Row]:
    """Rows of completion files, with the predicted answer and whether it is correct."""
    return [
        labelled(problem, solution.text, solution.finished)
        for problem, solution in zip(problems, solutions, strict=True)
    ]


def _seed(options: SampleOptions) -> int:
    """A seed that differs between sets of problems, so their draws are independent."""
    text = f"{options.data_seed} {options.problems.stem}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


if __name__ == "__main__":
    raise SystemExit(run_stage(SampleOptions, run, before=take_gpus))
