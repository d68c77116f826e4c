"""How large a reward model is, without loading it and without a network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "token_embd")
"""names of tables that are looked up, not multiplied"""
LANGUAGE_HEADS = ("lm_head", "embed_out", "output")
"""names of the head of a language model, which a reward model does without"""


@dataclass(frozen=True)
class ModelSize:
    """Numbers of a reward model's parameters.

    Attributes:
        parameters: all of them, the reward head included.
        multiplied: those that multiply every token, so without the embedding table: the N of the
            formulas for operations.
    """

    parameters: int
    multiplied: int


def llama_size(
    hidden_size: int,
    layers: int,
    intermediate_size: int,
    heads: int,
    kv_heads: int,
    vocab_size: int,
) -> ModelSize:
    """Of a Llama: attention with grouped keys and values, a gated MLP, no biases."""
    kv_size = hidden_size // heads * kv_heads
    attention = 2 * hidden_size**2 + 2 * hidden_size * kv_size
    layer = attention + 3 * hidden_size * intermediate_size + 2 * hidden_size  # and two norms
    multiplied = layers * layer + 2 * hidden_size  # and the last norm, and the reward head
    return ModelSize(multiplied + vocab_size * hidden_size, multiplied)


KNOWN = {
    "nvidia/OpenMath-CodeLlama-7b-Python-hf": llama_size(4096, 32, 11008, 32, 32, 32016),
    "meta-llama/Meta-Llama-3-8B-Instruct": llama_size(4096, 32, 14336, 32, 8, 128256),
}
"""base models of the paper, from the numbers in their config.json on the hub"""


def model_size(base_model: str) -> ModelSize | None:
    """The size of the reward model that is made of a base model; None if it cannot be told.

    Args:
        base_model: a .gguf file, a folder with .safetensors files, or a hub id of `KNOWN`.
    """
    path = Path(base_model)
    if path.suffix == ".gguf" and path.is_file():
        import gguf

        tensors = gguf.GGUFReader(path).tensors
        return _sum((tensor.name, [int(n) for n in tensor.shape]) for tensor in tensors)
    whole = path / "model.safetensors"
    # Some have the same weights a second time, as consolidated.safetensors.
    files = [whole] if whole.is_file() else sorted(path.glob("model-*.safetensors"))
    if files:
        return _sum(shape for file in files for shape in _shapes(file))
    return KNOWN.get(base_model)


def _shapes(file: Path) -> Iterable[tuple[str, Sequence[int]]]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        return [(name, tensors.get_slice(name).get_shape()) for name in list(tensors.keys())]


def _sum(shapes: Iterable[tuple[str, Sequence[int]]]) -> ModelSize | None:
    """From the names and shapes of a language model's weights."""
    embedded = multiplied = hidden_size = 0
    for name, shape in shapes:
        count = 1
        for length in shape:
            count *= length
        parts = name.split(".")
        if any(part in EMBEDDINGS for part in parts):
            embedded += count
            hidden_size = min(shape)
        elif parts[0] not in LANGUAGE_HEADS:
            multiplied += count
    if not hidden_size:
        return None
    return ModelSize(embedded + multiplied + hidden_size, multiplied + hidden_size)
