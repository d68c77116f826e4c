"""How much a run reads and multiplies: rows and tokens of the data, parameters of the model.

Data are counted in files that exist, and assumed for others. Tokens are estimated from characters:
running a tokenizer would take longer than the answer is worth. No model is loaded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from statistics import fmean

from gcrm.config.layout import Split
from gcrm.config.run import Config
from gcrm.data.completions import iter_solutions
from gcrm.data.preferences import columns_of, parse_pair
from gcrm.data.sources import iter_rows

CHARACTERS_PER_TOKEN = 3.0
"""measured with SmolLM2's tokenizer: 2.7 to 3.2 in solutions to word problems, 4.0 in dialogues"""
SAMPLE_ROWS = 1000
"""The mean length of these first rows stands for all rows of a file."""
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
    """The preference pairs of a run before any cap; None if their number is unknown.

    Raises:
        UserError: a file cannot be read, or one of its first rows is broken.
    """
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

    Raises:
        UserError: a file cannot be read, or one of its first rows is broken.
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
        size = _sum(map(_solutions_in, files))
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
    if path.suffix not in (".jsonl", ".json", ".parquet") or not path.is_file():
        return None
    lengths = []
    for number, row in islice(iter_rows(source), SAMPLE_ROWS):
        pair = parse_pair(row, columns_of(source, row), f"{source}, row {number}")
        lengths.append(2 * len(pair.question) + len(pair.chosen) + len(pair.rejected))
    return _scaled(path, lengths)


def _solutions_in(file: Path) -> DataSize:
    rows = islice(iter_solutions(file), SAMPLE_ROWS)
    return _scaled(file, [len(row["question"] + row["generated_solution"]) for row in rows])


def _scaled(path: Path, lengths: list[int]) -> DataSize:
    """The size of a file whose first rows have these lengths in characters."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        rows = pyarrow.parquet.read_metadata(path).num_rows
    else:
        with path.open("rb") as file:
            rows = sum(1 for line in file if line.strip())
    return DataSize(rows, round(rows * fmean(lengths) / CHARACTERS_PER_TOKEN))


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
