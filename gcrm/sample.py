"""Stage `sample`: draws solutions to a set of problems from a base model, and labels them."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gcrm.cli import run_stage
from gcrm.config.layout import discard_samples
from gcrm.config.sample import SampleOptions
from gcrm.lineage.provenance import write_provenance
from gcrm.stats.answers import canonical
from gcrm.synthetic.problems import predicted_answer
from gcrm.utils.gpus import take_gpus
from gcrm.utils.io import Row, read_jsonl, write_jsonl
from gcrm.utils.logging import Progress, say

if TYPE_CHECKING:
    from gcrm.synthetic.generation import Generated


def run(options: SampleOptions) -> None:
    """Write output-greedy.jsonl, and output-rs<k>.jsonl for each k below `num_samples`."""
    problems = read_jsonl(options.problems, texts=("question", "expected_answer"))
    from transformers.utils.logging import disable_progress_bar

    from gcrm.modeling.loading import check_vocabulary, load_language_model, load_tokenizer
    from gcrm.synthetic.generation import generate

    disable_progress_bar()  # one progress line is enough
    tokenizer = load_tokenizer(options.model, options.trust_remote_code)
    model = load_language_model(options.model, options.trust_remote_code)
    check_vocabulary(model, tokenizer.vocab_size, options.model)
    questions = [problem["question"] for problem in problems]
    name = options.save_dir.name
    drawn = questions * options.num_samples
    batches = -(-len(questions) // options.batch_size) + -(-len(drawn) // options.batch_size)
    progress = Progress(f"sample {name}", batches, "batch")

    def solve(prompts: list[str], temperature: float | None) -> "list[Generated]":
        return generate(
            model,
            tokenizer,
            prompts,
            temperature=temperature,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.batch_size,
            seed=_seed(options),
            advance=progress.advance,
        )

    files = {"greedy": label(problems, solve(questions, None))}
    samples = solve(drawn, options.temperature)
    for k in range(options.num_samples):
        part = samples[k * len(problems) : (k + 1) * len(problems)]
        files[f"rs{k}"] = label(problems, part)
    for split, rows in files.items():
        write_jsonl(options.save_dir / f"output-{split}.jsonl", rows)
    discard_samples(options.save_dir, options.num_samples)
    accuracies = {
        split: sum(row["is_correct"] for row in rows) / len(rows) for split, rows in files.items()
    }
    say(
        f"sample {name}: {accuracies.pop('greedy'):.1%} of the greedy solutions correct"
        + (
            f", {sum(accuracies.values()) / len(accuracies):.1%} of the samples"
            if accuracies
            else ""
        )
    )
    write_provenance(
        options.save_dir / "provenance.json",
        options,
        inputs=[options.problems, options.model],
        outputs=[options.save_dir / f"output-{split}.jsonl" for split in files],
    )


def label(problems: Sequence[Row], solutions: "Sequence[Generated]") -> list[Row]:
    """Rows of completions: what was answered, and whether that is what was expected.

    A solution that was cut off has no answer: what it said so far need not be its last word.
    """
    rows = []
    for problem, solution in zip(problems, solutions, strict=True):
        answer = predicted_answer(solution.text) if solution.finished else None
        right = answer is not None and canonical(answer) == canonical(problem["expected_answer"])
        rows.append(
            {
                "question": problem["question"],
                "expected_answer": problem["expected_answer"],
                "generated_solution": solution.text,
                "predicted_answer": answer,
                "is_correct": right,
            }
        )
    return rows


def _seed(options: SampleOptions) -> int:
    """A seed of its own for each set of problems, so that no two sets share their draws."""
    text = f"{options.data_seed} {options.problems.stem}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


if __name__ == "__main__":
    raise SystemExit(run_stage(SampleOptions, run, before=take_gpus))
