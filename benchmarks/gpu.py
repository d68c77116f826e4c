"""Scoring and training of a 7 B model on a GPU, in bf16 with random weights.

    make bench-gpu
    python -m benchmarks.gpu --small    (small shapes, on any machine: does it run?)

Scoring is compared with padded batches of 16 completions in the order of the file, training with
two rows a pair; both with the attention that is installed. The share of the peak is that of the
FLOPs of the layers that must be computed, over the rate of bf16 products measured in the same run.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import LlamaForSequenceClassification

from benchmarks.setting import LLAMA_7B, TINY, alternate, flops, make_model, texts
from gcrm.modeling.passes import HeadWatch, Passes, pad
from gcrm.modeling.tokenization import Encoded
from gcrm.training.collation import Batch, EncodedPair, collate, collator_for, model_inputs


def main() -> None:
    """Measure and print."""
    small = "--small" in sys.argv[1:]
    if not (small or torch.cuda.is_available()):
        raise SystemExit("benchmarks.gpu: there is no GPU; --small runs it on the CPU")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, divisor = (512, 20) if small else (8192, 1)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    rate = products_per_second(device, size)
    print(f"{name}, torch {torch.__version__}: {rate / 1e12:.1f} TFLOP/s in bf16 products")
    model = make_model(TINY if small else LLAMA_7B, device, torch.bfloat16)
    if device == "cuda" and importlib.util.find_spec("flash_attn"):
        model.set_attn_implementation("flash_attention_2")
    print(f"attention: {model.config._attn_implementation}")
    print(f"{'':46}{'tokens/s':>10}{'ratio':>8}{'of peak':>9}{'GiB':>7}")
    samples, problems = (10, 1) if small else (50, 4)
    lengths = [(150 + 4 * number) // divisor for number in range(samples)]
    for prompt in (100, 700):
        encoded = [
            one for seed in range(problems) for one in texts(prompt // divisor, *lengths, seed=seed)
        ]
        needed = sum(one.num_tokens for one in encoded) + problems * encoded[0].start
        works = {"16 at a time": in_order(model, encoded), "gcrm": score(model, encoded)}
        show(
            f"score {samples} samples of {encoded[0].start} tokens",
            works,
            flops(model, needed) / rate,
        )
    for prompt, chosen, rejected in ((100, 300, 350), (700, 300, 350)):
        pairs = []
        for seed in range(problems):
            numbers = (number // divisor for number in (prompt, chosen, rejected))
            left, right = texts(*numbers, seed=seed)
            pairs.append(EncodedPair(left, right))
        needed = sum(len(pair.chosen) + pair.rejected.num_tokens for pair in pairs)
        works = {
            "two rows a pair": train(model, [collate([pair], 0) for pair in pairs]),
            "gcrm": train(model, [collator_for(model, 0)([pair]) for pair in pairs]),
        }
        floor = 4 * flops(model, needed) / rate  # with recomputed activations
        show(f"train {problems} pairs of a prompt of {pairs[0].chosen.start} tokens", works, floor)


def show(name: str, works: dict[str, Callable[[], int]], floor: float) -> None:
    """Time each work, which returns its tokens, and print a row for it."""
    print(name)
    tokens, memory = {}, {}
    for work, run in works.items():
        tokens[work], memory[work] = run(), peak_memory()
    seconds = alternate(works)
    first = next(iter(seconds.values()))
    for work, each in seconds.items():
        numbers = f"{tokens[work] / each:10.0f}{first / each:8.2f}{floor / each:9.0%}"
        print(f"  {work:44}{numbers}{memory[work]:7.1f}")


def in_order(
    model: LlamaForSequenceClassification, encoded: Sequence[Encoded]
) -> Callable[[], int]:
    """Padded batches of 16, as a plain loop over transformers makes them."""

    @torch.inference_mode()
    def work() -> int:
        for begin in range(0, len(encoded), 16):
            rows = [one.input_ids for one in encoded[begin : begin + 16]]
            inputs = to_device(pad(rows, 0), model)
            model(**inputs, use_cache=False).logits.cpu()
        return sum(len(one) for one in encoded)

    return work


def score(model: LlamaForSequenceClassification, encoded: Sequence[Encoded]) -> Callable[[], int]:
    """The passes that `evaluate` makes."""
    passes = Passes(model)

    def work() -> int:
        for batch in passes.batches(encoded):
            for _, _, rewards in passes(encoded, batch):
                rewards.cpu()
        return sum(len(one) for one in encoded)

    return work


def train(model: LlamaForSequenceClassification, batches: Sequence[Batch]) -> Callable[[], int]:
    """Losses and gradients of micro-batches of one pair, with gradient checkpointing."""

    watch = HeadWatch(model)

    def work() -> int:
        model.train()
        model.activation_checkpointing_enable()
        for batch in batches:
            inputs = to_device(batch, model)
            model(**model_inputs(inputs, model), use_cache=False)
            chosen, rejected = watch.rewards[inputs["row"], inputs["end"] - 1]
            (-torch.nn.functional.logsigmoid(chosen - rejected)).backward()
        model.zero_grad()
        model.activation_checkpointing_disable()
        model.eval()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return sum(int((batch["end"] - batch["start"]).sum()) for batch in batches)

    return work


def to_device(batch: Batch, model: LlamaForSequenceClassification) -> Batch:
    """The batch where the model is."""
    return {name: values.to(model.device) for name, values in batch.items()}


def peak_memory() -> float:
    """Most memory of the GPU since the last call, in GiB."""
    if not torch.cuda.is_available():
        return 0.0
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return most


def products_per_second(device: str, size: int) -> float:
    """FLOPs a second of bf16 products of square matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def work() -> Tensor:
        for _ in range(20):
            product = left @ right
        return product[0, 0].cpu()

    work()
    return 20 * 2 * size**3 / alternate({"products": work})["products"]


if __name__ == "__main__":
    main()
