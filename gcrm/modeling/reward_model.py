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

from gcrm.data.preferences import Prompt
from gcrm.modeling.hardware import choose_hardware
from gcrm.modeling.heads import compute_in_fp32
from gcrm.modeling.loading import FACTS, load_reward_model, read_facts
from gcrm.modeling.official import OfficialEncoder
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.utils.errors import UserError

Floats = NDArray[np.float32]

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
        reward: the final reward of each, (n,) float32.
        partial_rewards: for each, the reward after every token, EOS included; the last is `reward`.
        q_values: for each, the cosine of every token's hidden state with the goal state; None
            where the reward model was loaded without one.
        num_tokens: tokens of each completion, EOS included, (n,) int32.
        truncated: which were longer than `max_len` and lost their end, (n,) bool.
    """

    reward: Floats
    partial_rewards: list[Floats]
    q_values: list[Floats] | None
    num_tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]


class TokenValues:
    """The values of the tokens of n completions, all completions end to end.

    Attributes:
        num_tokens: tokens of each completion, (n,) int32.
        arrays: by the name in `Scores`: partial_rewards and, with a goal state, q_values; of shape
            (sum of num_tokens,) float32, 0 where nothing was scored yet.
    """

    def __init__(self, num_tokens: NDArray[np.int32], with_q_values: bool) -> None:
        self.num_tokens = num_tokens
        self._ends = np.cumsum(num_tokens, dtype=np.int64)
        names = ["partial_rewards", "q_values"] if with_q_values else ["partial_rewards"]
        self.arrays: dict[str, Floats] = {
            name: np.zeros(num_tokens.sum(), np.float32) for name in names
        }

    def span(self, row: int) -> slice:
        """Where the tokens of a completion are."""
        return slice(self._ends[row] - self.num_tokens[row], self._ends[row])

    def token_indices(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The indices of all tokens of these completions, in their order."""
        spans = zip(self._ends[rows], self.num_tokens[rows], strict=True)
        return np.concatenate([np.arange(end - length, end) for end, length in spans])

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """The scores of the completions, once all are scored."""
        rows = {
            name: [array[self.span(row)] for row in range(len(self.num_tokens))]
            for name, array in self.arrays.items()
        }
        return Scores(
            reward=self.arrays["partial_rewards"][self._ends - 1],
            partial_rewards=rows["partial_rewards"],
            q_values=rows.get("q_values"),
            num_tokens=self.num_tokens,
            truncated=np.array([one.truncated for one in encoded], bool),
        )


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
        context = getattr(model.config.get_text_config(), "max_position_embeddings", max_len)
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
            width = model.config.get_text_config().hidden_size
            goal = read_goal_state(goal_state, width).to(hardware.device)
        parity = read_facts(str(path)).get("parity", "none")
        if parity not in ("none", "official"):
            raise UserError(f"{path}/{FACTS}: parity is {parity!r}; expected none or official")
        return cls(model, tokenizer, goal, max_len, parity)

    def score(self, question: Prompt, solutions: Sequence[str]) -> Scores:
        """Score solutions of one question; their order is kept."""
        return self.score_encoded(self.encoder.encode_many((question, s) for s in solutions))

    def score_encoded(
        self, encoded: Sequence[Encoded], tokens_per_batch: int | None = None
    ) -> Scores:
        """Score encoded completions; a score does not depend on what else is in its batch.

        Args:
            tokens_per_batch: tokens in one forward pass, padding included; by default
                TOKENS_PER_BATCH of the device.
        """
        values = self.no_values(encoded)
        for _ in self.score_batches(encoded, self.batches(encoded, tokens_per_batch), values):
            pass
        return values.scores(encoded)

    def no_values(self, encoded: Sequence[Encoded]) -> "TokenValues":
        """Where `score_batches` puts the values of these completions."""
        return TokenValues(
            np.array([one.num_tokens for one in encoded], np.int32), self.goal_state is not None
        )

    def score_batches(
        self, encoded: Sequence[Encoded], batches: Iterable[list[int]], values: "TokenValues"
    ) -> Iterator[list[int]]:
        """Score batch by batch: yields the indices of a batch once its values are in place.

        Args:
            batches: indices into `encoded`, see `batches`.
            values: of `no_values` of the same completions.
        """
        for indices, hidden, rewards in self.forward(encoded, batches):
            found = {"partial_rewards": rewards.cpu().numpy()}
            if self.goal_state is not None:
                cosines = F.normalize(hidden, dim=-1) @ self.goal_state
                found["q_values"] = cosines.cpu().numpy()
            for row, index in enumerate(indices):
                span = slice(encoded[index].start, len(encoded[index].input_ids))
                for name, array in values.arrays.items():
                    array[values.span(index)] = found[name][row, span]
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


def read_goal_state(goal_state: str | Path | Any, width: int) -> Tensor:
    """The unit vector (width,) of a goal state; of several rows, that of their mean.

    Raises:
        UserError: no such file, no numbers, another width, or no direction (NaN, all zero).
    """
    name = "goal state"
    if isinstance(goal_state, str | Path):
        path = Path(goal_state)
        path = path / "goal_state.npy" if path.is_dir() else path
        name = str(path)
        goal_state = _load_array(path)
    array = np.atleast_2d(goal_state)
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name}: holds {array.dtype}; expected an array of real numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        array = array.astype(np.float32)
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise UserError(
            f"{name}: has shape {np.shape(goal_state)}, but this reward model has hidden states "
            f"of width {width}; expected (1, {width}), made by `represent` with the same model"
        )
    mean = torch.from_numpy(array.mean(axis=0))
    if not torch.isfinite(mean).all() or not mean.any():
        raise UserError(f"{name}: has NaN or infinite values, or is zero; make it anew")
    return F.normalize(mean, dim=0)
