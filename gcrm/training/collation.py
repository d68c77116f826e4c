"""Tokenised preference pairs, and their batches.

The sides of pairs are laid out in one of three ways, which give the same rewards and gradients:

- `collate`: two rows a pair, padded to one length.
- `collate_packed`: one row a pair, of the prompt, the chosen and the rejected completion, of which
  the rejected one does not see the chosen one. It reads the prompt once, and needs a mask.
- `collate_flat`: one row for all, without padding, for flash attention: it takes no such mask, but
  is told where each side begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, islice
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from gcrm.data.preferences import Preference
from gcrm.data.questions import question_hash, question_key
from gcrm.modeling.passes import pad, sees_all
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say

Batch = dict[str, Tensor]

MODEL_INPUTS = ("input_ids", "attention_mask", "position_ids")
WORTH_PACKING = 1.1
"""how many times the tokens of one row a pair two rows have at least, for one row to be faster: it
needs a mask, with which attention is slower"""
PACKED = frozenset(
    "arcee axk1 axk2 biogpt cohere_compass_text deepseek_v2 deepseek_v3 diffllama doge "
    "exaone4 gemma gemma2 gemma3 gemma3_text glm glm4 gpt-sw3 gpt2 gpt_bigcode gpt_neo "
    "gpt_neox gpt_oss gptj helium hunyuan_v1_dense hunyuan_v1_moe jetmoe llama minicpm3 "
    "ministral ministral3 mistral mistral4 mixtral nemotron olmo olmo2 olmo3 opt persimmon "
    "phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 stablelm starcoder2".split()
)
"""Types of models that give the same states in one row a pair; tests/modeling/test_architectures.py
measures them. Others take no positions, or no such mask."""
NO_BORDERS = frozenset(["gpt_neo", "gptj"])
"""types among them whose own code calls flash attention without the borders of sides"""


@dataclass(frozen=True)
class EncodedPair:
    """A tokenised preference pair; its chosen reward should be higher by `margin`."""

    chosen: Encoded
    rejected: Encoded
    margin: float = 0.0
    prompt: int = 0
    """an id of the prompt, of at most 63 bits; `rs` takes goals from pairs with another one"""
    counts: bool = True
    """false for a filler, a copy that only completes a batch"""

    @cached_property
    def shared(self) -> int:
        """How many first tokens both sides share, none of a completion."""
        sides = zip(self.chosen.ids, self.rejected.ids, strict=False)
        most = min(self.chosen.start, self.rejected.start)
        return next((n for n, (a, b) in enumerate(islice(sides, most)) if a != b), most)

    @property
    def length(self) -> int:
        """Tokens of the longer side, prompt included: the width of the pair in a padded batch."""
        return max(len(self.chosen), len(self.rejected))


def encode_pairs(pairs: Sequence[Preference], encoder: Encoder) -> list[EncodedPair]:
    """The pairs of which both sides fit into the encoder's `max_len`, in order."""
    sides = encoder.encode_fitting(
        [(pair.prompt, side) for pair in pairs for side in (pair.chosen, pair.rejected)],
        [pair.where for pair in pairs for _ in range(2)],
    )
    return [
        EncodedPair(chosen, rejected, pair.margin or 0.0, _prompt_id(pair))
        for pair, chosen, rejected in zip(pairs, sides[::2], sides[1::2], strict=True)
        if chosen is not None and rejected is not None
    ]


def encode_training_pairs(
    pairs: Sequence[Preference], encoder: Encoder, stage: str, sources: Sequence[str]
) -> list[EncodedPair]:
    """The pairs that fit; how many do not is reported.

    Args:
        stage, sources: names of the stage and of the data, for messages.

    Raises:
        UserError: none fits.
    """
    encoded, most = encode_pairs(pairs, encoder), encoder.max_len
    if not encoded:
        raise UserError(f"{', '.join(sources)}: no pair fits into max_len = {most} tokens")
    if too_long := len(pairs) - len(encoded):
        say(f"{stage}: {too_long} of {len(pairs)} pairs dropped: longer than {most} tokens")
    return encoded


def _prompt_id(pair: Preference) -> int:
    """The first 60 bits of the hash by which the stages tell prompts apart."""
    return int(question_hash(question_key(pair.question))[:15], 16)


def collate(
    pairs: Sequence[EncodedPair], pad_id: int, side: Literal["left", "right"] = "right"
) -> Batch:
    """One batch: the chosen sides of all pairs, then the rejected sides.

    Args:
        side: side of the padding.

    Returns:
        input_ids and, with padding on the left, attention_mask (2 * pairs, longest); start, end and
        row (2 * pairs,) of each completion; margin (pairs,) float32; prompt (pairs,), the ids;
        labels (pairs,), 1 or -100 for a filler, with which the Trainer counts the pairs of a step.
    """
    sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    batch = pad([one.input_ids for one in sides], pad_id, side)
    if side == "right":  # no token attends to the padding
        del batch["attention_mask"]
    width = batch["input_ids"].shape[1]
    shifts = [width - len(one) if side == "left" else 0 for one in sides]
    starts = [one.start + shift for one, shift in zip(sides, shifts, strict=True)]
    ends = [len(one) + shift for one, shift in zip(sides, shifts, strict=True)]
    places = {"start": starts, "end": ends, "row": range(len(sides))}
    return batch | {name: torch.tensor(values) for name, values in places.items()} | _facts(pairs)


def collate_packed(pairs: Sequence[EncodedPair], pad_id: int) -> Batch:
    """As `collate`, with one row a pair where that saves enough.

    Returns:
        Without attention_mask; position_ids (pairs, longest); shared (pairs,), how many first
        tokens both sides share; second (pairs,), where the rest of the rejected side begins.
    """
    texts = [[*pair.chosen.ids, *pair.rejected.ids[pair.shared :]] for pair in pairs]
    if 2 * max(pair.length for pair in pairs) < WORTH_PACKING * max(map(len, texts)):
        return collate(pairs, pad_id)
    second = [len(pair.chosen) for pair in pairs]
    positions = [
        [*range(border), *range(pair.shared, len(pair.rejected))]
        for pair, border in zip(pairs, second, strict=True)
    ]
    starts = [pair.chosen.start for pair in pairs] + [
        border + pair.rejected.start - pair.shared
        for pair, border in zip(pairs, second, strict=True)
    ]
    places = {
        "start": starts,
        "end": [*second, *map(len, texts)],
        "row": [*range(len(pairs))] * 2,
        "shared": [pair.shared for pair in pairs],
        "second": second,
    }
    return {
        "input_ids": _padded(texts, pad_id),
        "position_ids": _padded(positions, 0),
        **{name: torch.tensor(values) for name, values in places.items()},
        **_facts(pairs),
    }


def collate_flat(pairs: Sequence[EncodedPair], pad_id: int) -> Batch:
    """As `collate`, with all sides in one row, one after the other, each with positions from 0.

    Args:
        pad_id: not used, since there is no padding.

    Returns:
        Without attention_mask; position_ids (1, tokens); borders (2 * pairs + 1,) int32, where each
        side begins, and where the last one ends.
    """
    sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    borders = [0, *accumulate(map(len, sides))]
    return {
        "input_ids": torch.tensor([[token for one in sides for token in one.ids]]),
        "position_ids": torch.cat([torch.arange(len(one)) for one in sides])[None],
        "borders": torch.tensor(borders, dtype=torch.int32),
        "start": torch.tensor(
            [first + one.start for first, one in zip(borders, sides, strict=False)]
        ),
        "end": torch.tensor(borders[1:]),
        "row": torch.zeros(len(sides), dtype=torch.int64),
        **_facts(pairs),
    }


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)


def _facts(pairs: Sequence[EncodedPair]) -> Batch:
    return {
        "margin": torch.tensor([pair.margin for pair in pairs], dtype=torch.float32),
        "prompt": torch.tensor([pair.prompt for pair in pairs]),
        "labels": torch.tensor([1 if pair.counts else -100 for pair in pairs]),
    }


def model_inputs(batch: Batch, model: PreTrainedModel) -> dict[str, Any]:
    """What the forward pass of a model takes of a batch, with the mask of packed rows."""
    inputs: dict[str, Any] = {name: batch[name] for name in MODEL_INPUTS if name in batch}
    if "borders" in batch:
        # The exact longest length would have to be waited for; a bound gives the same.
        longest = inputs["input_ids"].shape[1]
        lengths = {"cu_seq_lens_q": batch["borders"], "cu_seq_lens_k": batch["borders"]}
        return inputs | lengths | {"max_length_q": longest, "max_length_k": longest}
    if "second" not in batch:
        return inputs
    place = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
    query, key = place[:, None], place[None, :]
    second, shared = (batch[name][:, None, None] for name in ("second", "shared"))
    of_other_side = (query >= second) & (key >= shared) & (key < second)
    mask = ((key <= query) & ~of_other_side)[:, None]
    if model.config._attn_implementation == "eager":  # it adds the mask to the products
        mask = torch.zeros_like(mask, dtype=model.dtype).masked_fill(
            ~mask, torch.finfo(model.dtype).min
        )
    return inputs | {"attention_mask": mask}


def collator_for(model: PreTrainedModel, pad_id: int) -> Callable[[Sequence[EncodedPair]], Batch]:
    """The way to lay out pairs that is fastest for a model with its attention."""
    if not takes_positions(model):
        return partial(collate, pad_id=pad_id)
    if model.config._attn_implementation != "flash_attention_2":
        return partial(collate_packed, pad_id=pad_id)
    return partial(collate_flat if takes_borders(model) else collate, pad_id=pad_id)


def takes_borders(model: PreTrainedModel) -> bool:
    """Whether a model hands the borders of `collate_flat` on to flash attention."""
    return model.config.get_text_config().model_type not in NO_BORDERS


def takes_positions(model: PreTrainedModel) -> bool:
    """Whether a model gives the same states in another layout than two rows a pair."""
    return model.config.get_text_config().model_type in PACKED and sees_all(model)
