"""How long files of 100,000 rows take, and how much memory.

    python benchmarks/readers.py

Rows of some 450 letters, as solutions have. Each reader is compared with `json.loads` on every line
of the same file, below which no reader of ours can be. Scores are 20,000 rows of 300 tokens.
"""

import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gcrm.data.authors_format import read_authors_jsonl, write_authors_jsonl
from gcrm.data.completions import read_completions
from gcrm.data.preferences import load_preferences
from gcrm.data.scores import ScoreTable, read_scores, write_scores
from gcrm.utils.io import read_jsonl

ROWS = 100_000
SCORED, TOKENS = 20_000, 300
TEXT = "3 + 4 = 7, and so on. " * 20


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs, greedy = folder / "pairs.jsonl", folder / "b" / "output-greedy.jsonl"
        greedy.parent.mkdir()
        rows = range(ROWS)
        write(
            pairs, [{"question": f"Who is {i}?", "correct": TEXT, "incorrect": "8"} for i in rows]
        )
        solution = {"generated_solution": TEXT, "predicted_answer": "7", "is_correct": True}
        write(greedy, [{"question": f"Who is {i}?"} | solution for i in rows])
        show("json.loads on pairs", lambda: [json.loads(line) for line in pairs.open("rb")])
        show("read_jsonl", lambda: read_jsonl(pairs))
        show("load_preferences", lambda: load_preferences([str(pairs)]))
        show(
            "load_preferences, capped", lambda: load_preferences([str(pairs)], max_pairs=ROWS // 2)
        )
        show("read_completions", lambda: read_completions(folder, "b", "greedy"))
        show("read_completions, capped", lambda: read_completions(folder, "b", "greedy", ROWS // 2))
        scores, output = folder / "scores.parquet", folder / "output.jsonl"
        table = scored()
        show("write_scores", lambda: write_scores(scores, table))
        show("read_scores", lambda: read_scores(scores))
        show("write_authors_jsonl", lambda: write_authors_jsonl(output, table))
        show("json.loads on output", lambda: [json.loads(line) for line in output.open("rb")])
        show("read_authors_jsonl", lambda: read_authors_jsonl([output], "greedy"))


def scored() -> ScoreTable:
    """A score table of random numbers."""
    values = np.random.default_rng(0).normal(size=(SCORED, TOKENS)).astype(np.float32)
    return ScoreTable.of(
        "greedy",
        {
            "prompt": [f"Who is {i}?" for i in range(SCORED)],
            "completion": [TEXT] * SCORED,
            "label": np.arange(SCORED) % 2 == 0,
            "sample": np.zeros(SCORED),
            "expected_answer": ["7"] * SCORED,
            "predicted_answer": ["7"] * SCORED,
            "reward": values[:, -1],
            "partial_rewards": list(values),
            "q_values": list(np.tanh(values)),
            "num_tokens": np.full(SCORED, TOKENS),
            "truncated": np.zeros(SCORED, bool),
        },
    )


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """The rows as JSON lines."""
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def show(what: str, work: Callable[[], object]) -> None:
    """Do it once, and print the seconds and the most memory so far."""
    started = time.process_time()
    work()
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:26} {seconds:7.2f} s   peak {peak:5.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
