"""Generating solutions with a language model: greedy, or sampled at a temperature."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from gcrm.modeling.loading import context_length
from gcrm.modeling.passes import pad
from gcrm.modeling.tokenization import Encoder
from gcrm.utils.errors import UserError


@dataclass(frozen=True)
class Generated:
    """The text generated after a prompt; `finished` if it ended with an EOS token."""

    text: str
    finished: bool


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    temperature: float | None,
    max_new_tokens: int,
    batch_size: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda batches: None,
) -> list[Generated]:
    """Generate one solution for each prompt, in order; repeat a prompt for several solutions.

    Prompts are sorted by length, and padded on the left. The solutions depend only on the seed, the
    prompts and the batch size.

    Args:
        temperature: softmax temperature, without top-k or top-p; None for greedy decoding.
        max_new_tokens: longest solution, in tokens.
        advance: called with 1 after each batch.

    Raises:
        UserError: a prompt with max_new_tokens exceeds the model's context, or the model's logits
            are not finite.
    """
    set_seed(seed)
    encoder = Encoder(tokenizer, max_len=1)  # max_len does not apply to prompts
    encoded = {prompt: encoder.prompt_ids(prompt) for prompt in dict.fromkeys(prompts)}
    check_prompts(model, encoded.values(), max_new_tokens)
    ends = end_ids(model, tokenizer)
    sampling: dict[str, Any]
    if temperature is None:
        sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    else:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[prompts[i]]))
    solutions: dict[int, Generated] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = [encoded[prompts[i]] for i in batch]
        for i, ids in zip(batch, _decode(model, rows, ends, max_new_tokens, sampling), strict=True):
            length = next((n for n, token in enumerate(ids) if token in ends), None)
            text = tokenizer.decode(ids[:length], skip_special_tokens=True)
            solutions[i] = Generated(str(text), finished=length is not None)
        advance(1)
    return [solutions[i] for i in range(len(prompts))]


def _decode(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    ends: list[int],
    max_new_tokens: int,
    sampling: dict[str, Any],
) -> list[list[int]]:
    """The token ids generated after each prompt of a batch."""
    # Any token pads, since it is masked; one that ends texts always has an embedding.
    inputs = pad(prompts, ends[0], "left")
    generate: Any = model.generate  # its declared type does not match the model's
    generated = generate(
        **{name: values.to(model.device) for name, values in inputs.items()},
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=ends[0],
        **sampling,
    )
    continuations: list[list[int]] = generated[:, inputs["input_ids"].shape[1] :].tolist()
    return continuations


def check_prompts(
    model: PreTrainedModel, prompts: Collection[list[int]], max_new_tokens: int
) -> None:
    """Check that prompts fit into the context, and that the model's logits are finite."""
    longest = max(map(len, prompts), default=0)
    context = context_length(model.config)
    if context is not None and longest + max_new_tokens > context:
        raise UserError(
            f"a prompt of {longest} tokens with max_new_tokens = {max_new_tokens} is longer than "
            f"the context of {model.name_or_path}, {context} tokens; lower max_new_tokens, or "
            "remove the problem"
        )
    shortest = min(prompts, key=len, default=[])
    if not shortest:
        return
    if not model(torch.tensor([shortest], device=model.device)).logits.isfinite().all():
        raise UserError(
            f"{model.name_or_path}: its logits are not finite, since its weights are damaged or "
            "overflow; use another base model"
        )


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a solution; a chat model may have several."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    return list(ids) if isinstance(ids, list | tuple) else [ids]
