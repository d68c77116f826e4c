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
from gcrm.data.preferences import iter_pairs

CHARACTERS_PER_TOKEN = 3.0
"""measured with SmolLM2's tokenizer: 2.7 to 3.2 in solutions to word problems, 4.0 in dialogues"""
SAMPLE_ROWS = 1000
"""The mean length of these first rows stands for all rows of a file."""
EMBEDDINGS = {"embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "token_embd"}
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

    def __add__(self, other: "DataSize") -> "DataSize":
        """Both together."""
        assumed = self.assumed or other.assumed
        return DataSize(self.rows + other.rows, self.tokens + other.tokens, assumed)

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
    found = _total([_pairs_in(source) for source in config.preference_sources()])
    return found or (assumed_pairs(config, config.cost.pairs) if config.cost.pairs else None)


def assumed_pairs(config: Config, pairs: int) -> DataSize:
    """This number of pairs, of the length that the config assumes."""
    return DataSize(pairs, 2 * config.cost.sequence_tokens * pairs, assumed=True)


def scored_size(config: Config) -> DataSize | None:
    """The completions that each reward model scores; None if their number is unknown.

    A held-out pair is two completions.

    Raises:
        UserError: a file cannot be read, or one of its first rows is broken.
    """
    limit = config.evaluate.max_problems
    sizes = [
        _solutions(config, name, split, limit)
        for name in config.benchmarks
        for split in config.splits(name)
    ]
    for name, source in config.heldout.items():
        pairs = _pairs_in(config.local(source))
        if pairs is None and (number := config.cost.sizes.get(name)):
            pairs = assumed_pairs(config, number)
        pairs = pairs and pairs.capped(config.evaluate.max_pairs)
        sizes.append(pairs and DataSize(2 * pairs.rows, pairs.tokens, pairs.assumed))
    return _total(sizes)


def sampled_size(config: Config) -> DataSize | None:
    """The samples that goal states filter; None if their number is unknown.

    Raises:
        UserError: a file cannot be read, or one of its first rows is broken.
    """
    limit = None if config.goals is None else config.goals.max_problems
    return _total([_solutions(config, name, "all", limit) for name in config.sampled()])


def generated_size(config: Config) -> DataSize | None:
    """The samples that `generate` begins for each reward model; None if their number is unknown.

    They are taken to be as long as the greedy solutions.

    Raises:
        UserError: a file cannot be read, or one of its first rows is broken.
    """
    if config.generate is None:
        return DataSize(0, 0)
    limit = config.generate.max_problems
    size = _total([_solutions(config, name, "greedy", limit) for name in config.generated()])
    times = config.generate.num_samples * len(config.generate.methods)
    return size and DataSize(times * size.rows, times * size.tokens, size.assumed)


def _solutions(config: Config, name: str, split: Split, limit: int | None) -> DataSize | None:
    """The solutions of a split, to at most `limit` problems."""
    files = config.completion_files(name, split)
    size = _total([_solutions_in(file) for file in files]) if files else None
    if size is None and (problems := config.cost.sizes.get(name)):
        rows = problems * len(files)
        size = DataSize(rows, rows * config.cost.sequence_tokens, assumed=True)
    return size and size.capped(None if limit is None else limit * len(files))


def _total(sizes: Sequence[DataSize | None]) -> DataSize | None:
    known = [size for size in sizes if size is not None]
    return sum(known, DataSize(0, 0)) if len(known) == len(sizes) else None


def _pairs_in(source: str) -> DataSize | None:
    path = Path(source)
    if path.suffix not in (".jsonl", ".json", ".parquet") or not path.is_file():
        return None
    lengths = []
    for _, _, pair in islice(iter_pairs(source, report=False), SAMPLE_ROWS):
        lengths.append(2 * len(pair.question) + len(pair.chosen) + len(pair.rejected))
    return _scaled(path, lengths)


def _solutions_in(file: Path) -> DataSize | None:
    if not file.is_file():
        return None
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
    embedded = multiplied = hidden_size = 0
    for name, shape in _weights(Path(base_model)):
        modules = name.split(".")
        if EMBEDDINGS.intersection(modules):
            embedded += prod(shape)
            hidden_size = min(shape)
        elif modules[0] not in LANGUAGE_HEADS:
            multiplied += prod(shape)
    if not hidden_size:
        return PAPER_MODELS.get(base_model)
    return ModelSize(embedded + multiplied + hidden_size, multiplied + hidden_size)


def _weights(path: Path) -> Iterable[tuple[str, Sequence[int]]]:
    """The names and shapes of a language model's weights."""
    if path.suffix == ".gguf" and path.is_file():
        import gguf

        for tensor in gguf.GGUFReader(path).tensors:
            yield tensor.name, [int(n) for n in tensor.shape]
    # Some folders contain the same weights again, as consolidated.safetensors.
    for file in sorted(path.glob("model*.safetensors")):
        from safetensors import safe_open

        with safe_open(file, framework="numpy") as tensors:
            for name in list(tensors.keys()):
                yield name, tensors.get_slice(name).get_shape()
