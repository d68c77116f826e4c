"""How far scoring and training are from the machine's matrix products.

    python benchmarks/speed.py

A Llama of SmolLM2's width with random weights (4 of its 30 layers) scores and trains on completions
of uneven length. The floor is the FLOPs of the layers (2 a weight and token forward, 6 for a
training step, and attention's products) over the matrix-product rate measured in the same run.
Scoring is compared with the same model in batches of 16 in file order, padded to the longest: what
a plain loop over a `transformers` model does. Rounds alternate; the best of each is shown.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from gcrm.modeling.batching import by_length
from gcrm.modeling.passes import HeadWatch, pad
from gcrm.modeling.tokenization import Encoded
from gcrm.training.collation import EncodedPair, collate
from gcrm.training.contrastive import Spans, contrastive_loss, draw_states
from gcrm.training.objective import preference_loss

ROUNDS = 3
COMPLETIONS = 64
PAIRS = 8


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=8_192,
            hidden_size=576,
            intermediate_size=1_536,
            num_hidden_layers=4,
            num_attention_heads=9,
            num_key_value_heads=3,
            pad_token_id=0,
            num_labels=1,  # type: ignore[call-arg]  # taken by its parent class
        )
    )
    watch = HeadWatch(model)
    lengths = np.minimum(40 + rng.geometric(1 / 120, COMPLETIONS), 512)
    encoded = [Encoded(rng.integers(1, 8_192, n).tolist(), start=20) for n in lengths]
    pairs = [EncodedPair(encoded[2 * i], encoded[2 * i + 1]) for i in range(PAIRS)]
    tokens = int(lengths.sum())
    pair_tokens = sum(len(p.chosen.input_ids) + len(p.rejected.input_ids) for p in pairs)

    @torch.inference_mode()
    def sorted_by_length() -> None:
        for indices in by_length(range(COMPLETIONS), lengths.tolist(), 2_048, 1_000):
            model(**pad([encoded[i] for i in indices], 0), use_cache=False)

    @torch.inference_mode()
    def in_file_order() -> None:
        for begin in range(0, COMPLETIONS, 16):
            model(**pad(encoded[begin : begin + 16], 0), use_cache=False)

    def training_step(strategy: str) -> Callable[[], None]:
        def step() -> None:
            for begin in range(0, PAIRS, 2):
                batch = collate(pairs[begin : begin + 2], pad_id=0)
                model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
                rewards = watch.rewards.gather(1, batch["end"][:, None] - 1).squeeze(1)
                loss = preference_loss(rewards[:2] - rewards[2:])
                if strategy == "contrastive":
                    chosen = Spans(batch["start"][:2], batch["end"][:2])
                    rejected = Spans(batch["start"][2:], batch["end"][2:])
                    draws = draw_states(chosen, rejected, rng)
                    term = contrastive_loss(watch.hidden[:2], watch.hidden[2:], draws)
                    loss = loss + 0.5 * term.loss
                loss.mean().backward()
            model.zero_grad()

        return step

    work = {
        "matrix products": matrix_products,
        "score, sorted by length": sorted_by_length,
        "score, file order": in_file_order,
        "train, vanilla": training_step("vanilla"),
        "train, contrastive": training_step("contrastive"),
    }
    seconds = dict.fromkeys(work, np.inf)
    for _ in range(ROUNDS):
        for name, run in work.items():
            started = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - started)

    rate = MATRIX_FLOPS / seconds["matrix products"]
    forward = flops(model, lengths)
    backward = 3 * flops(model, lengths[: 2 * PAIRS])
    print(f"{torch.get_num_threads()} thread(s), {rate / 1e9:.0f} GFLOP/s in matrix products\n")
    print(f"{'':26}{'tokens/s':>10}{'floor':>10}{'of floor':>10}")
    for name, count, work_flops in [
        ("score, sorted by length", tokens, forward),
        ("score, file order", tokens, forward),
        ("train, vanilla", pair_tokens, backward),
        ("train, contrastive", pair_tokens, backward),
    ]:
        speed, floor = count / seconds[name], count / (work_flops / rate)
        print(f"{name:26}{speed:10.0f}{floor:10.0f}{speed / floor:10.0%}")
    gain = seconds["score, file order"] / seconds["score, sorted by length"]
    extra = seconds["train, contrastive"] / seconds["train, vanilla"] - 1
    print(f"\nsorting by length scores {gain:.2f} x as fast as file order")
    print(f"the contrastive term adds {extra:.1%} to a training step")


MATRIX_FLOPS = 20 * 2 * 1_024**3


def matrix_products() -> None:
    """Twenty products of 1,024 x 1,024 fp32 matrices."""
    a, b = torch.randn(1_024, 1_024), torch.randn(1_024, 1_024)
    for _ in range(20):
        torch.mm(a, b)


def flops(model: LlamaForSequenceClassification, lengths: np.ndarray) -> float:
    """FLOPs of a forward pass over sequences of these lengths, without padding.

    2 a weight and token in the layers; attention's two products over half the square (causal).
    """
    weights = sum(p.numel() for p in model.model.layers.parameters())
    config = model.config
    attention = 2 * 2 * config.num_hidden_layers * config.hidden_size * (lengths**2 / 2).sum()
    return float(2 * weights * lengths.sum() + attention)


if __name__ == "__main__":
    main()
