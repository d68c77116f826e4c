"""Made dialogues in the form of the Helpful-Harmless data, in the words of the tests' models."""

from pathlib import Path
from typing import Any

from helpers.rows import write_rows


def dialogue_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Pairs of whole dialogues of one or three turns; the chosen answer is about tom."""
    rows = []
    for i in range(first, first + count):
        lead = f"\n\nHuman: how many apples does tom have ? {i // 60} {i % 60}"
        if i % 3:
            lead += f"\n\nAssistant: tom has {i % 7} apples .\n\nHuman: how many pears ?"
        rows.append(
            {
                "chosen": f"{lead}\n\nAssistant: tom has {i % 11} pears{' now .' * (i % 2)}",
                "rejected": f"{lead}\n\nAssistant: ann has {i % 13} pears{' now .' * (i % 3)}",
            }
        )
    return rows


def write_dialogues(path: Path, count: int, first: int = 0) -> Path:
    """The rows in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = dialogue_rows(count, first)
    return write_rows(path, *rows)
