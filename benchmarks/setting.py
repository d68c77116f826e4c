"""What the benchmarks of speed share: a model, lengths of real texts, and fair timing.

The model has the shape of SmolLM2-135M and random weights; texts are random tokens with the
lengths of real ones. Speed depends on nothing else, and nothing has to be downloaded.
"""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
import transformers
from torch import nn
from transformers import LlamaConfig, LlamaForSequenceClassification

from gcrm.modeling.tokenization import Encoded

# Tokens of SmolLM2 in real texts, drawn at random from the data sets.
GSM8K = [
    (69, 110, 94, 82, 123),
    (76, 105, 65, 77, 84),
    (84, 201, 181, 129, 170),
    (108, 93, 165, 159, 194),
    (98, 198, 116, 134, 158),
    (91, 128, 260, 203, 116),
    (105, 198, 80, 108, 150),
    (130, 146, 199, 227, 235),
    (83, 157, 77, 163, 201),
    (114, 194, 98, 111, 132),
    (86, 138, 78, 96, 106),
    (127, 97, 214, 127, 197),
]
"""of a problem: its prompt, and each of four solutions"""
ASDIV = [
    (89, 155, 98),
    (73, 110, 101),
    (82, 147, 69),
    (54, 90, 92),
    (73, 151, 67),
    (54, 54, 92),
    (62, 437, 331),
    (94, 134, 68),
]
"""of a preference pair: its prompt, the chosen and the rejected side"""
HH_HARMLESS = [
    (36, 54, 18),
    (78, 21, 14),
    (196, 35, 19),
    (443, 82, 44),
    (96, 35, 83),
    (420, 50, 82),
    (38, 18, 53),
    (194, 22, 38),
]
VOCABULARY = 49_152


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama."""

    width: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int


TINY = Shape(128, 256, 4, 4, 4)
"""the model of the default run"""
SMOLLM2 = Shape(576, 1536, 30, 9, 3)
LLAMA_7B = Shape(4096, 11008, 32, 32, 32)


def make_model(
    shape: Shape = SMOLLM2, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> LlamaForSequenceClassification:
    """A model with random weights, on one device the same at every call."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.width,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    config.num_labels = 1
    with torch.device(device):
        model = LlamaForSequenceClassification(config)
    module: nn.Module = model  # whose `to` is typed
    module.to(dtype).eval()
    return model


def texts(prompt: int, *completions: int, seed: int = 0) -> list[Encoded]:
    """Random tokens: a prompt with each of these completions, by their numbers of tokens."""
    tokens = np.random.default_rng([seed, prompt, *completions])
    shared = tokens.integers(1, VOCABULARY, prompt).tolist()
    return [
        Encoded([*shared, *tokens.integers(1, VOCABULARY, number).tolist()], prompt)
        for number in completions
    ]


def alternate(works: Mapping[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Median seconds of each, in turns, so that other load meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(each) for name, each in seconds.items()}


def product_rate(work: Callable[[torch.Tensor, torch.Tensor], object]) -> float:
    """FLOPs a second of products of 256 rows, in the widths of the model: the best of many."""
    left, right = torch.randn(256, 576), torch.randn(1536, 576)
    seconds = []
    for _ in range(2000):
        started = time.perf_counter()
        work(left, right)
        seconds.append(time.perf_counter() - started)
    return 2 * 256 * 576 * 1536 / min(seconds)


def flops(model: nn.Module, tokens: int) -> float:
    """FLOPs of a forward pass over this many tokens, without attention's products."""
    layers = [one for one in model.modules() if isinstance(one, nn.Linear)]
    return 2.0 * tokens * sum(one.weight.numel() for one in layers)


def print_machine() -> None:
    """What the numbers were measured on and with."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    print(
        f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, transformers {transformers.__version__}\n"
    )
