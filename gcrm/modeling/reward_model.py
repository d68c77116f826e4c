"""A reward model that scores: one forward pass gives rewards, partial rewards and Q-values.

A hook on the head of an unmodified `AutoModelForSequenceClassification` sees the last hidden
states (its input) and the reward of every token (its output).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gcrm.data.messages import Prompt, checked_completion, checked_prompt
from gcrm.data.scores import Ragged
from gcrm.modeling.hardware import choose_hardware
from gcrm.modeling.heads import compute_in_fp32
from gcrm.modeling.loading import (
    FACTS,
    check_head,
    context_length,
    load_reward_model,
    read_facts,
)
from gcrm.modeling.official import OfficialEncoder
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.utils.errors import UserError

TOKENS_PER_BATCH = {"cuda": 16_384, "cpu": 2_048}
"""A GPU needs large batches to be busy. On a CPU their activations leave the caches: with 2,048
SmolLM2-135M scores 2.4 times as many tokens a second as with 16,384, the model of `tiny` 1.5."""


class HeadWatch:
    """Input and output of a model's head in the last forward pass.

    Attributes:
        hidden: last hidden states, after the final norm, (batch, tokens, hidden_size), fp32.
        rewards: the head's value at every token, (batch, tokens), fp32.
    """

    hidden: Tensor
    rewards: Tensor

    def __init__(self, model: PreTrainedModel):
        head = model.get_submodule("score")
        assert isinstance(head, nn.Linear)  # loading ensures it
        compute_in_fp32(head)
        head.register_forward_hook(self._see)

    def _see(self, head: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self.hidden = inputs[0].float()
        self.rewards = output.squeeze(-1)


def pad(
    encoded: Sequence[Encoded], pad_id: int, side: Literal["left", "right"] = "right"
) -> dict[str, Tensor]:
    """Padded `input_ids` and `attention_mask`, (batch, longest), int64."""
    longest = max(len(one.input_ids) for one in encoded)
    ids = torch.full((len(encoded), longest), pad_id)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(encoded):
        length = len(one.input_ids)
        span = slice(0, length) if side == "right" else slice(longest - length, longest)
        ids[row, span] = torch.tensor(one.input_ids)
        mask[row, span] = 1
    return {"input_ids": ids, "attention_mask": mask}


def encoder_for(parity: str, tokenizer: PreTrainedTokenizerBase, max_len: int) -> Encoder:
    """The encoder of a reward model: ours, or the authors' for parity "official"."""
    return (OfficialEncoder if parity == "official" else Encoder)(tokenizer, max_len)


def batches_by_length(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Indices in batches of at most `tokens_per_batch` tokens with padding, longest first.

    Longest first, so that a lack of memory shows in the first batch and not after hours. A sequence
    longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= tokens_per_batch:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


@dataclass(frozen=True)
class Scores:
    """The scores of n completions.

    Attributes:
        partial_rewards: for each, the reward after every token, EOS included.
        q_values: for each, the cosine of every token's hidden state with the goal state; None
            where the reward model was loaded without one.
        truncated: which were longer than `max_len` and lost their end, (n,) bool.
    """

    partial_rewards: Ragged
    q_values: Ragged | None
    truncated: NDArray[np.bool_]

    @classmethod
    def zeros(cls, encoded: Sequence[Encoded], with_q_values: bool) -> "Scores":
        """All scores 0, to be filled in place by `RewardModel.score_batches`."""
        lengths = [one.num_tokens for one in encoded]
        q_values = Ragged.zeros(lengths) if with_q_values else None
        truncated = np.array([one.truncated for one in encoded], bool)
        return cls(Ragged.zeros(lengths), q_values, truncated)

    @property
    def reward(self) -> NDArray[np.float32]:
        """The final reward of each, (n,): the last partial reward."""
        return self.partial_rewards.at_percentile(1.0)

    @property
    def num_tokens(self) -> NDArray[np.int32]:
        """Tokens of each completion, EOS included, (n,)."""
        return self.partial_rewards.lengths.astype(np.int32)

    @property
    def of_tokens(self) -> dict[str, Ragged]:
        """The scores of every token that there are, by name."""
        found = {"partial_rewards": self.partial_rewards, "q_values": self.q_values}
        return {name: values for name, values in found.items() if values is not None}


class RewardModel:
    """A trained reward model, with or without a goal state. Made by `from_pretrained`.

    Attributes:
        model: the transformers model. tokenizer: its tokenizer. encoder: text to tokens.
        goal_state: (hidden_size,) unit vector, or None.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        goal_state: Tensor | None,
        max_len: int,
        parity: str = "none",
    ):
        context = context_length(model.config) or max_len
        self.model = model
        self.tokenizer = tokenizer
        self.encoder = encoder_for(parity, tokenizer, min(max_len, context))
        self.goal_state = goal_state
        self._watch = HeadWatch(model)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        goal_state: str | Path | Any | None = None,
        *,
        max_len: int = 2048,
        bf16: bool | None = None,
        flash_attn: bool = False,
        trust_remote_code: bool = False,
    ) -> "RewardModel":
        """Load a reward model from a folder or hub id.

        A model that was trained with `parity: official` encodes as the authors' scripts do.

        Args:
            goal_state: for Q-values: a .npy file, a folder with goal_state.npy, or an array of
                shape (hidden_size,) or (n, hidden_size), of which the mean is taken.
            max_len: longest prompt with completion, in tokens.
            bf16: compute in bfloat16 (default: on GPUs that support it).

        Raises:
            UserError: no whole reward model there, or a goal state of another width.
        """
        if bf16 is None:
            bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        hardware = choose_hardware(bf16, flash_attn)
        model, tokenizer = load_reward_model(
            str(path), hardware.dtype, hardware.attention, trust_remote_code
        )
        module: nn.Module = model  # whose `to` is typed
        module.to(hardware.device)
        goal = None
        if goal_state is not None:
            width = check_head(model, str(path)).in_features
            goal = read_goal_state(goal_state, width).to(hardware.device)
        parity = read_facts(str(path)).get("parity", "none")
        if parity not in ("none", "official"):
            raise UserError(f"{path}/{FACTS}: parity is {parity!r}; expected none or official")
        return cls(model, tokenizer, goal, max_len, parity)

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states, which are the inputs of the head."""
        return check_head(self.model, str(self.model.name_or_path)).in_features

    @property
    def numerics(self) -> tuple[Any, ...]:
        """What the last digits of its scores depend on, beside the files of the model."""
        commit = getattr(self.model.config, "_commit_hash", None)  # of a model from the hub
        return (torch.get_num_threads(), self.model.device.type, self.model.dtype, commit)

    def score(self, question: Prompt, solutions: Sequence[str]) -> Scores:
        """Score solutions of one question; their order is kept.

        Raises:
            UserError: the question is neither text nor messages, or a solution is not text.
        """
        if isinstance(solutions, str):  # its letters would be scored
            raise UserError("score: solutions must be a list of texts, not one text")
        prompt = checked_prompt(question, "score")
        texts = [checked_completion(solution, "score") for solution in solutions]
        return self.score_encoded(self.encoder.encode_many((prompt, text) for text in texts))

    def score_encoded(
        self, encoded: Sequence[Encoded], tokens_per_batch: int | None = None
    ) -> Scores:
        """Score encoded completions; a score does not depend on what else is in its batch.

        Args:
            tokens_per_batch: tokens in one forward pass, padding included; by default
                TOKENS_PER_BATCH of the device.
        """
        scores = Scores.zeros(encoded, self.goal_state is not None)
        for _ in self.score_batches(encoded, self.batches(encoded, tokens_per_batch), scores):
            pass
        return scores

    def score_batches(
        self, encoded: Sequence[Encoded], batches: Iterable[list[int]], scores: Scores
    ) -> Iterator[list[int]]:
        """Score batch by batch: yields the indices of a batch once its scores are in place.

        Args:
            batches: indices into `encoded`, see `batches`.
            scores: `Scores.zeros` of the same completions, which is filled.
        """
        for indices, hidden, rewards in self.forward(encoded, batches):
            found = {"partial_rewards": rewards.cpu().numpy()}
            if self.goal_state is not None:
                cosines = F.normalize(hidden, dim=-1) @ self.goal_state
                found["q_values"] = cosines.cpu().numpy()
            for row, index in enumerate(indices):
                tokens = slice(encoded[index].start, len(encoded[index].input_ids))
                for name, values in scores.of_tokens.items():
                    values[index][:] = found[name][row, tokens]
            yield indices

    def batches(
        self, encoded: Sequence[Encoded], tokens_per_batch: int | None = None
    ) -> list[list[int]]:
        """Indices into `encoded`, one list a forward pass; see `score_encoded`."""
        most = tokens_per_batch or TOKENS_PER_BATCH[self.model.device.type]
        return batches_by_length([len(one.input_ids) for one in encoded], most)

    @torch.inference_mode()
    def forward(
        self, encoded: Sequence[Encoded], batches: Iterable[list[int]]
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """For each batch its indices, hidden (b, t, hidden_size) and rewards (b, t), fp32.

        Raises:
            UserError: a reward is NaN or infinite.
        """
        pad_id = self.model.config.get_text_config().pad_token_id
        for indices in batches:
            batch = pad([encoded[i] for i in indices], pad_id)
            inputs = {key: value.to(self.model.device) for key, value in batch.items()}
            self.model(**inputs, use_cache=False)
            rewards = self._watch.rewards
            if not rewards[inputs["attention_mask"].bool()].isfinite().all():
                raise UserError(
                    f"{self.model.name_or_path}: gives rewards that are no finite numbers, so its "
                    "weights are broken; train or download it again"
                )
            yield indices, self._watch.hidden, rewards


def read_goal_state(goal_state: str | Path | Any, width: int) -> Tensor:
    """The unit vector (width,) of a goal state; of several rows, that of their mean.

    Raises:
        UserError: no such file, no numbers, another width, or no direction (NaN, all zero).
    """
    name = "goal state"
    if isinstance(goal_state, str | Path):
        path = Path(goal_state)
        path = path / "goal_state.npy" if path.is_dir() else path
        name, goal_state = str(path), _load_array(path)
    array = np.atleast_2d(goal_state)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name}: holds {array.dtype}; expected an array of real numbers")
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise UserError(
            f"{name}: has shape {np.shape(goal_state)}, but this reward model has hidden states "
            f"of width {width}; expected (1, {width}), made by `represent` with the same model"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        mean = torch.from_numpy(array.astype(np.float32).mean(axis=0))
    if not torch.isfinite(mean).all() or not mean.any():
        raise UserError(f"{name}: has NaN or infinite values, or is zero; make it anew")
    return F.normalize(mean, dim=0)


def _load_array(path: Path) -> Any:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `represent` makes it") from None
    except (OSError, EOFError, ValueError) as error:
        # numpy takes any other file for a pickle, and its message tells how to run it.
        reason = "another format" if "pickle" in str(error) else str(error)
        raise UserError(f"{path}: not a numpy array of numbers ({reason})") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: holds several arrays (.npz); save the one of the goal as .npy")
    return array
