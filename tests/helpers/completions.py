"""Made solutions of a base model, in the words of the tests' models."""

import json
from pathlib import Path


def write_completions(folder: Path, benchmark: str, samples: int = 2, problems: int = 6) -> Path:
    """Right greedy solutions and wrong samples of one benchmark; returns its folder."""
    home = folder / benchmark
    home.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(("greedy", *(f"rs{k}" for k in range(samples)))):
        rows = []
        for i in range(problems):
            answer = i + 4 if name == "greedy" else i + 3
            rows.append(
                {
                    "question": f"tom has {i} apples . tom buys 4 apples . how many ?",
                    "expected_answer": str(i + 4),
                    "generated_solution": f"{i} + 4 = {answer} . answer {answer}" + " ." * number,
                    "predicted_answer": str(answer),
                    "is_correct": answer == i + 4,
                }
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (home / f"output-{name}.jsonl").write_text(text)
    return home
