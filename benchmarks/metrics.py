"""Time and memory of `metrics`: python benchmarks/metrics.py [problems] [samples].

Makes score tables of the paper's size (5,000 problems, 50 samples of 300 tokens each: 250,000
completions) in a temporary folder, and computes all their metrics. Aim: below 60 s and 4 GiB.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gcrm.score_files import Ragged
from gcrm.scores import write_scores

TOKENS = 300


def write_made_scores(path: Path, problems: int, per_problem: int) -> None:
    """A score table of random numbers, with answers as MATH has them: numbers and some algebra."""
    generator = np.random.default_rng(per_problem)
    n = problems * per_problem
    lengths = generator.integers(TOKENS // 2, TOKENS * 3 // 2, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    q_values = generator.uniform(-0.1, 1, offsets[-1]).astype(np.float32)
    answers = generator.integers(0, 6, n)
    problem = np.arange(n) // per_problem
    spellings = ("{}", "{}.0", "\\frac{{{}}}{{7}}", "{}\\sqrt{{3}}", "({}, 2)", "{}x + 1")
    write_scores(
        path,
        {
            "question": [f"question {number}" for number in problem],
            "expected_answer": ["0"] * n,
            "generated_solution": ["some text " * 60] * n,
            # One problem in fifty has algebra for answers.
            "predicted_answer": [
                spellings[5 if p % 50 == 0 else p % 5].format(p + a)
                for p, a in zip(problem, answers, strict=True)
            ],
            "is_correct": answers == 0,
            "sample": np.arange(n) % per_problem,
            "reward": q_values[offsets[1:] - 1],
            "partial_rewards": Ragged(q_values, offsets),
            "q_values": Ragged(q_values, offsets),
            "num_tokens": lengths,
            "truncated": np.zeros(n, bool),
        },
    )


def main() -> None:
    """Make the tables, and time the stage in a process of its own."""
    problems, samples = (int(word) for word in [*sys.argv[1:], "5000", "50"][:2])
    with tempfile.TemporaryDirectory() as folder:
        greedy, sampled = Path(folder) / "greedy.parquet", Path(folder) / "all.parquet"
        write_made_scores(greedy, problems, 1)
        write_made_scores(sampled, problems, samples)
        started = time.monotonic()
        subprocess.run(
            [
                *(sys.executable, "-m", "gcrm.metrics", "--scores", greedy),
                *("--sample_scores", sampled, "--output", Path(folder) / "metrics.json"),
            ],
            check=True,
        )
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{problems * samples} completions: {seconds:.1f} s, {peak:.2f} GiB at most")


if __name__ == "__main__":
    main()
