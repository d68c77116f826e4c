"""Time and memory of `metrics` and `compare`: python -m benchmarks.metrics [problems] [samples].

Makes score tables of the paper's size (5,000 problems, 50 samples of 300 tokens each: 250,000
completions) of two models in a temporary folder, computes all metrics of the first, and compares
both. Aim: below 45 s and 4 GiB for the metrics of a model.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.meter import metered
from gcrm.data.ragged import Ragged
from gcrm.data.scores import ScoreTable, write_scores

TOKENS = 300


def write_made_scores(path: Path, problems: int, per_problem: int, model: int) -> None:
    """A score table of random numbers, with answers as MATH has them: numbers and some algebra.

    The completions are the same for all models.
    """
    generator = np.random.default_rng(per_problem)
    n = problems * per_problem
    lengths = generator.integers(TOKENS // 2, TOKENS * 3 // 2, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    answers = generator.integers(0, 6, n)
    scores = np.random.default_rng([per_problem, model])
    q_values = scores.uniform(-0.1, 1, offsets[-1]).astype(np.float32)
    problem = np.arange(n) // per_problem
    spellings = ("{}", "{}.0", "\\frac{{{}}}{{7}}", "{}\\sqrt{{3}}", "({}, 2)", "{}x + 1")
    table = ScoreTable.of(
        "greedy" if per_problem == 1 else "all",
        {
            "prompt": [f"question {number}" for number in problem],
            "completion": ["some text " * 60] * n,
            "label": answers == 0,
            "sample": np.arange(n) % per_problem,
            "expected_answer": ["0"] * n,
            # One problem in fifty has algebra for answers.
            "predicted_answer": [
                spellings[5 if p % 50 == 0 else p % 5].format(p + a)
                for p, a in zip(problem, answers, strict=True)
            ],
            "reward": q_values[offsets[1:] - 1],
            "partial_rewards": Ragged(q_values, offsets),
            "q_values": Ragged(q_values, offsets),
            "num_tokens": lengths,
            "truncated": np.zeros(n, bool),
        },
    )
    write_scores(path, table)


def measured(name: str, *words: object) -> None:
    """Run a stage in a process of its own, and tell its time and memory."""
    used = metered("-m", f"gcrm.{name}", *words)
    print(f"{name}: {used.wall:.1f} s, {used.gib:.2f} GiB at most")


def main() -> None:
    """Make the tables, and time both stages."""
    problems, samples = (int(word) for word in [*sys.argv[1:], "5000", "50"][:2])
    print(f"{problems * samples} completions of {TOKENS} tokens; compare: of two models")
    with tempfile.TemporaryDirectory() as folder:
        greedy, sampled = [], []
        for model, variant in enumerate(("vanilla", "contrastive")):
            scores = Path(folder) / variant / "seed0" / "math"
            greedy.append(scores / "greedy/scores.parquet")
            sampled.append(scores / "all/scores.parquet")
            write_made_scores(greedy[-1], problems, 1, model)
            write_made_scores(sampled[-1], problems, samples, model)
        output = Path(folder) / "metrics.json"
        first = ["--scores", greedy[0], "--sample_scores", sampled[0], "--output", output]
        measured("metrics", *first)
        both = ["--scores", *greedy, "--sample_scores", *sampled]
        measured("compare", *both, "--output", Path(folder) / "comparison.json")


if __name__ == "__main__":
    main()
