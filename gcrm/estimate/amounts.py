"""How many rows and tokens a run reads: counted where the data are here, assumed where not.

Tokens are estimated from characters: a tokenizer would cost more time than the answer is worth.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcrm.config.layout import Split
from gcrm.config.run import Config
from gcrm.utils.errors import UserError

CHARACTERS_PER_TOKEN = 3.0
"""measured with SmolLM2's tokenizer: 2.7 to 3.2 in solutions to word problems, 4.0 in dialogues"""
SAMPLE_FIRST, SAMPLE_EACH = 200, 50
"""the lengths of the first rows, and of each 50th one, stand for all"""


@dataclass(frozen=True)
class Amount:
    """Rows of data and their tokens.

    Attributes:
        rows: preference pairs, or completions.
        tokens: of all rows, prompts included; a pair has its prompt twice.
        assumed: the data are not here yet: numbers of the config, not of files.
    """

    rows: int
    tokens: int
    assumed: bool = False

    def capped(self, most: int | None) -> "Amount":
        """At most so many rows."""
        if most is None or most >= self.rows:
            return self
        return Amount(most, round(self.tokens * most / self.rows), self.assumed)


def training_amount(config: Config) -> Amount | None:
    """The preference pairs of a run before any cap; None if nobody knows how many there are."""
    found = [_pairs_in(Path(source)) for source in config.preference_sources()]
    if None not in found:
        amounts = [amount for amount in found if amount is not None]
        if config.dataset_probs is not None:
            total = min(
                amount.rows / share
                for amount, share in zip(amounts, config.dataset_probs, strict=True)
            )
            amounts = [
                amount.capped(max(1, round(total * share)))
                for amount, share in zip(amounts, config.dataset_probs, strict=True)
            ]
        return _total(amounts)
    pairs = config.cost.pairs
    return None if pairs is None else pairs_of(config, pairs)


def pairs_of(config: Config, pairs: int) -> Amount:
    """So many pairs of the length that the config assumes."""
    return Amount(pairs, 2 * config.cost.sequence_tokens * pairs, assumed=True)


def scored_amount(config: Config) -> Amount | None:
    """The completions that each reward model scores; None if nobody knows how many there are.

    Each held-out pair has two.
    """
    found = [
        _completions_of(config, benchmark, split)
        for benchmark in config.benchmarks
        for split in config.splits(benchmark)
    ]
    found += [_sides_of(config, name) for name in config.heldout]
    amounts = [amount for amount in found if amount is not None]
    return _total(amounts) if len(amounts) == len(found) else None


def _completions_of(config: Config, benchmark: str, split: Split) -> Amount | None:
    files = config.completion_files(benchmark, split)
    if files and all(file.is_file() for file in files):
        found = _total([_measured(file, _solution_length) for file in files])
    elif problems := config.cost.sizes.get(benchmark):
        rows = problems * len(files)
        found = Amount(rows, rows * config.cost.sequence_tokens, assumed=True)
    else:
        return None
    cap = config.evaluate.max_problems
    return found if cap is None else found.capped(cap * len(files))


def _sides_of(config: Config, heldout: str) -> Amount | None:
    found = _pairs_in(Path(config.local(config.heldout[heldout])))
    if found is None:
        if heldout not in config.cost.sizes:
            return None
        found = pairs_of(config, config.cost.sizes[heldout])
    found = found.capped(config.evaluate.max_pairs)
    return Amount(2 * found.rows, found.tokens, found.assumed)


def _pairs_in(path: Path) -> Amount | None:
    if path.suffix in (".jsonl", ".json") and path.is_file():
        return _measured(path, _pair_length)
    if path.suffix == ".parquet" and path.is_file():
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                first = next(file.iter_batches(batch_size=SAMPLE_FIRST), None)
                rows = file.metadata.num_rows
        except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{path}: not a readable Parquet file ({reason})") from None
        found = enumerate([] if first is None else first.to_pylist(), start=1)
        return _scaled(rows, [_checked(path, number, row, _pair_length) for number, row in found])
    return None


def _measured(path: Path, length: Callable[[Any], int]) -> Amount:
    rows = 0
    lengths = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            rows += 1
            if rows <= SAMPLE_FIRST or rows % SAMPLE_EACH == 0:
                lengths.append(_checked(path, number, line, lambda row: length(json.loads(row))))
    return _scaled(rows, lengths)


def _checked(path: Path, number: int, row: Any, length: Callable[[Any], int]) -> int:
    """The length of a row.

    Raises:
        UserError: it is no row of such data. (`prepare` says what is wrong with it.)
    """
    try:
        return length(row)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{path}: row {number}: is no such row as the config says, or is broken; the cost "
            "cannot be told"
        ) from None


def _scaled(rows: int, lengths: list[int]) -> Amount:
    mean = sum(lengths) / len(lengths) if lengths else 0
    return Amount(rows, round(rows * mean / CHARACTERS_PER_TOKEN))


def _solution_length(row: Mapping[str, Any]) -> int:
    return len(row["question"]) + len(row["generated_solution"])


def _pair_length(row: Mapping[str, Any]) -> int:
    """Characters of both sides, each with the prompt, which dialogues may begin with."""
    prompt = row.get("question", row.get("prompt"))
    sides = [row.get("correct", row.get("chosen")), row.get("incorrect", row.get("rejected"))]
    return sum(_length(side) + (0 if _begins(side, prompt) else _length(prompt)) for side in sides)


def _begins(side: Any, prompt: Any) -> bool:
    messages = isinstance(side, list) and isinstance(prompt, list)
    return messages and side[: len(prompt)] == prompt


def _length(text: Any) -> int:
    """Characters of a text, or of the messages of a dialogue."""
    if isinstance(text, list):
        return sum(len(message["content"]) for message in text)
    return len(text or "")


def _total(amounts: Iterable[Amount]) -> Amount:
    amounts = list(amounts)
    return Amount(
        sum(amount.rows for amount in amounts),
        sum(amount.tokens for amount in amounts),
        any(amount.assumed for amount in amounts),
    )
