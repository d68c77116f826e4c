"""Scoring against a plain loop over transformers, one completion at a time.

    python -m benchmarks.scoring

The loop is the same model with torch's own linear layers; the rewards of both must agree. The share
of the floor is that of the FLOPs of all tokens that must be computed (each prompt once), over the
rate of matrix products measured in the same run, by the faster of the two libraries.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import LlamaForSequenceClassification

from benchmarks.setting import (
    GSM8K,
    SMOLLM2,
    TINY,
    Shape,
    alternate,
    flops,
    make_model,
    print_machine,
    product_rate,
    texts,
)
from gcrm.modeling.hardware import has_bf16
from gcrm.modeling.onednn import product, use_onednn
from gcrm.modeling.passes import Passes
from gcrm.modeling.tokenization import Encoded


def main() -> None:
    """Measure and print."""
    print_machine()
    rates = {"MKL": product_rate(torch.nn.functional.linear), "oneDNN": product_rate(product)}
    print("fp32 products: " + ", ".join(f"{n} {r / 1e9:.0f} GFLOP/s" for n, r in rates.items()))
    print(f"\n{'':44}{'tokens/s':>10}{'ratio':>8}{'of floor':>10}{'error':>10}")
    rate = max(rates.values())
    four = [one for lengths in GSM8K for one in texts(*lengths)]
    measure("SmolLM2's shape, 4 samples of 12 problems", four, SMOLLM2, rate)
    solutions = [number for lengths in GSM8K[3:9] for number in lengths[1:]]
    many = [one for lengths in GSM8K[:3] for one in texts(lengths[0], *solutions)]
    measure("SmolLM2's shape, 24 samples of 3 problems", many, SMOLLM2, rate)
    short = [one for n in range(300) for one in texts(20 + n % 9, *range(9, 25), seed=n)]
    measure("4 layers of 128, 16 of 300 problems", short, TINY, rate)


def measure(name: str, encoded: Sequence[Encoded], shape: Shape, rate: float) -> None:
    """Time the loop, ours in fp32 and, where the CPU has it, in bf16."""
    plain, ours = make_model(shape), make_model(shape)
    use_onednn(ours)
    works = {"one at a time": loop(plain, encoded), "gcrm, fp32": score(ours, encoded)}
    if has_bf16(on_gpu=False):
        works["gcrm, bf16"] = score(make_model(shape, dtype=torch.bfloat16), encoded)
    rewards = {name: work() for name, work in works.items()}
    seconds = alternate(works)
    prompts = {tuple(one.input_ids[: one.start]) for one in encoded}
    needed = sum(map(len, prompts)) + sum(one.num_tokens for one in encoded)
    tokens = sum(len(one) for one in encoded)
    print(name)
    for work, each in seconds.items():
        error = np.abs(rewards[work] - rewards["one at a time"]).max()
        ratio, floor = seconds["one at a time"] / each, flops(plain, needed) / rate / each
        print(f"  {work:42}{tokens / each:10.0f}{ratio:8.2f}{floor:10.0%}{error:10.1e}")


def loop(
    model: LlamaForSequenceClassification, encoded: Sequence[Encoded]
) -> Callable[[], np.ndarray]:
    """The final rewards by plain transformers."""

    @torch.inference_mode()
    def work() -> np.ndarray:
        rewards = [model(torch.tensor([one.input_ids])).logits[0, 0] for one in encoded]
        return torch.stack(rewards).numpy()

    return work


def score(
    model: LlamaForSequenceClassification, encoded: Sequence[Encoded]
) -> Callable[[], np.ndarray]:
    """The final rewards by the passes that `evaluate` makes."""
    passes = Passes(model)

    def work() -> np.ndarray:
        found = np.zeros(len(encoded), np.float32)
        for batch in passes.batches(encoded):
            for rows, _, rewards in passes(encoded, batch):
                ends = np.cumsum([encoded[row].num_tokens for row in rows]) - 1
                found[rows] = rewards[ends].numpy()
        return found

    return work


if __name__ == "__main__":
    main()
