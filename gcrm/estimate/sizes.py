"""How much a run reads and multiplies: rows and tokens of the data, parameters of the model.

Data are counted in files that exist, and assumed for others. Tokens are estimated from characters:
running a tokenizer would take longer than the answer is worth. No model is loaded.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from gcrm.config.layout import Split
from gcrm.config.run import Config
from gcrm.utils.errors import UserError

CHARACTERS_PER_TOKEN = 3.0
"""measured with SmolLM2's tokenizer: 2.7 to 3.2 in solutions to word problems, 4.0 in dialogues"""
SAMPLE_FIRST, SAMPLE_EACH = 200, 50
"""The mean length is that of the first 200 rows and of every 50th row."""
EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "token_embd")
"""names of tables that are looked up, not multiplied"""
LANGUAGE_HEADS = ("lm_head", "embed_out", "output")
"""names of the head of a language model, which a reward model does not have"""


@dataclass(frozen=True)
class DataSize:
    """Rows of data and their tokens.

    Attributes:
        rows: preference pairs, or completions.
        tokens: of all rows, with the prompt of each completion; a pair contains its prompt twice.
        assumed: from numbers of the config, because the files do not exist yet.
    """

    rows: int
    tokens: int
    assumed: bool = False

    def capped(self, limit: int | None) -> "DataSize":
        """At most `limit` rows."""
        if limit is None or limit >= self.rows:
            return self
        return DataSize(limit, round(self.tokens * limit / self.rows), self.assumed)


def training_size(config: Config) -> DataSize | None:
    """The preference pairs of a run before any cap; None if their number is unknown."""
    sizes = [_pairs_in(source) for source in config.preference_sources()]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None if config.cost.pairs is None else assumed_pairs(config, config.cost.pairs)
    if (shares := config.dataset_probs) is not None:
        total = min(size.rows / share for size, share in zip(known, shares, strict=True))
        counts = [max(1, round(total * share)) for share in shares]
        known = [size.capped(count) for size, count in zip(known, counts, strict=True)]
    return _sum(known)


def assumed_pairs(config: Config, pairs: int) -> DataSize:
    """This number of pairs, of the length that the config assumes."""
    return DataSize(pairs, 2 * config.cost.sequence_tokens * pairs, assumed=True)


def scored_size(config: Config) -> DataSize | None:
    """The completions that each reward model scores; None if their number is unknown.

    A held-out pair is two completions.
    """
    sizes = [
        _completions_of(config, benchmark, split)
        for benchmark in config.benchmarks
        for split in config.splits(benchmark)
    ]
    sizes += [_sides_of(config, name) for name in config.heldout]
    known = [size for size in sizes if size is not None]
    return _sum(known) if len(known) == len(sizes) else None


def _completions_of(config: Config, benchmark: str, split: Split) -> DataSize | None:
    files = config.completion_files(benchmark, split)
    if files and all(file.is_file() for file in files):
        size = _sum(_measure(file, _solution_length) for file in files)
    elif problems := config.cost.sizes.get(benchmark):
        rows = problems * len(files)
        size = DataSize(rows, rows * config.cost.sequence_tokens, assumed=True)
    else:
        return None
    limit = config.evaluate.max_problems
    return size if limit is None else size.capped(limit * len(files))


def _sides_of(config: Config, heldout: str) -> DataSize | None:
    size = _pairs_in(config.local(config.heldout[heldout]))
    if size is None:
        if heldout not in config.cost.sizes:
            return None
        size = assumed_pairs(config, config.cost.sizes[heldout])
    size = size.capped(config.evaluate.max_pairs)
    return DataSize(2 * size.rows, size.tokens, size.assumed)


def _pairs_in(source: str) -> DataSize | None:
    path = Path(source)
    known = path.suffix in (".jsonl", ".json", ".parquet") and path.is_file()
    return _measure(path, _pair_length) if known else None


def _measure(path: Path, length: Callable[[Any], int]) -> DataSize:
    """Count the rows of a file; the mean `length` of some rows, in characters, stands for all.

    Raises:
        UserError: a row is of another kind or broken. (`prepare` says what is wrong with it.)
    """
    rows, sample = (_parquet_sample if path.suffix == ".parquet" else _jsonl_sample)(path)
    lengths = []
    for number, row in sample:
        try:
            lengths.append(length(json.loads(row) if isinstance(row, bytes) else row))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise UserError(
                f"{path}: row {number}: is broken, or not of the kind that the config says; the "
                "cost cannot be estimated"
            ) from None
    mean = sum(lengths) / len(lengths) if lengths else 0
    return DataSize(rows, round(rows * mean / CHARACTERS_PER_TOKEN))


def _jsonl_sample(path: Path) -> tuple[int, list[tuple[int, Any]]]:
    rows, sample = 0, []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows += 1
                if rows <= SAMPLE_FIRST or rows % SAMPLE_EACH == 0:
                    sample.append((number, line))
    return rows, sample


def _parquet_sample(path: Path) -> tuple[int, list[tuple[int, Any]]]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            first = next(file.iter_batches(batch_size=SAMPLE_FIRST), None)
            rows = file.metadata.num_rows
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from None
    return rows, list(enumerate([] if first is None else first.to_pylist(), start=1))


def _solution_length(row: Mapping[str, Any]) -> int:
    return len(row["question"]) + len(row["generated_solution"])


def _pair_length(row: Mapping[str, Any]) -> int:
    """Characters of both sides and their prompts; dialogues may already begin with the prompt."""
    prompt = row.get("question", row.get("prompt"))
    sides = [row.get("correct", row.get("chosen")), row.get("incorrect", row.get("rejected"))]
    return sum(_length(side) + (0 if _begins(side, prompt) else _length(prompt)) for side in sides)


def _begins(side: Any, prompt: Any) -> bool:
    dialogues = isinstance(side, list) and isinstance(prompt, list)
    return dialogues and side[: len(prompt)] == prompt


def _length(text: Any) -> int:
    """Characters of a text, or of the messages of a dialogue."""
    if isinstance(text, list):
        return sum(len(message["content"]) for message in text)
    return len(text or "")


def _sum(sizes: Iterable[DataSize]) -> DataSize:
    rows, tokens, assumed = 0, 0, False
    for size in sizes:
        rows, tokens = rows + size.rows, tokens + size.tokens
        assumed |= size.assumed
    return DataSize(rows, tokens, assumed)


@dataclass(frozen=True)
class ModelSize:
    """Numbers of parameters of a reward model.

    Attributes:
        parameters: all, with the reward head.
        multiplied: without the embedding table; each token is multiplied with these. This is the N
            of the formulas for FLOPs.
    """

    parameters: int
    multiplied: int


PAPER_MODELS = {
    "nvidia/OpenMath-CodeLlama-7b-Python-hf": ModelSize(6_607_413_248, 6_476_275_712),
    "meta-llama/Meta-Llama-3-8B-Instruct": ModelSize(7_504_928_768, 6_979_592_192),
}
"""base models of the paper, which are known without their files"""


def model_size(base_model: str) -> ModelSize | None:
    """The size of the reward model made from a base model; None if it is unknown.

    Args:
        base_model: a .gguf file, a folder with .safetensors files, or a key of PAPER_MODELS.
    """
    path = Path(base_model)
    if path.suffix == ".gguf" and path.is_file():
        import gguf

        tensors = gguf.GGUFReader(path).tensors
        return _size_of((tensor.name, [int(n) for n in tensor.shape]) for tensor in tensors)
    whole = path / "model.safetensors"
    # Some folders contain the same weights again, as consolidated.safetensors.
    files = [whole] if whole.is_file() else sorted(path.glob("model-*.safetensors"))
    if files:
        return _size_of(shape for file in files for shape in _shapes(file))
    return PAPER_MODELS.get(base_model)


def _shapes(file: Path) -> Iterable[tuple[str, Sequence[int]]]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        return [(name, tensors.get_slice(name).get_shape()) for name in list(tensors.keys())]


def _size_of(shapes: Iterable[tuple[str, Sequence[int]]]) -> ModelSize | None:
    """The size from the names and shapes of a language model's weights."""
    embedded = multiplied = hidden_size = 0
    for name, shape in shapes:
        parts = name.split(".")
        if any(part in EMBEDDINGS for part in parts):
            embedded += prod(shape)
            hidden_size = min(shape)
        elif parts[0] not in LANGUAGE_HEADS:
            multiplied += prod(shape)
    if not hidden_size:
        return None
    return ModelSize(embedded + multiplied + hidden_size, multiplied + hidden_size)
