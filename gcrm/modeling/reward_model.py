"""A reward model that scores: one forward pass gives rewards, partial rewards and Q-values."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gcrm.config.layout import FACTS
from gcrm.data.layouts import checked_prompt
from gcrm.data.messages import Prompt, checked_completion
from gcrm.data.ragged import Ragged
from gcrm.lineage.provenance import check_goal_state
from gcrm.modeling.batching import Batch
from gcrm.modeling.growing import Growing, choose_growing
from gcrm.modeling.hardware import choose_hardware
from gcrm.modeling.loading import (
    check_head,
    fitting_length,
    load_reward_model,
    read_facts,
)
from gcrm.modeling.official import OfficialEncoder
from gcrm.modeling.passes import Fetched, Passes, fetch_scores, one_behind, unique
from gcrm.modeling.stream import Stream
from gcrm.modeling.tokenization import Encoded, Encoder
from gcrm.utils.errors import UserError


def encoder_for(parity: str, tokenizer: PreTrainedTokenizerBase, max_len: int) -> Encoder:
    """The encoder of a reward model: ours, or the authors' for parity "official"."""
    return (OfficialEncoder if parity == "official" else Encoder)(tokenizer, max_len)


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

    def take(self, rows: Sequence[int]) -> "Scores":
        """The scores of the completions of these indices."""
        if list(rows) == list(range(len(self.truncated))):
            return self
        found = {name: values.take(rows) for name, values in self.of_tokens.items()}
        return Scores(found["partial_rewards"], found.get("q_values"), self.truncated[rows])

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
        goal_state: (hidden_size,) unit vector, or None. passes: its forward passes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        goal_state: Tensor | None,
        max_len: int,
        parity: str = "none",
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.encoder = encoder_for(parity, tokenizer, fitting_length(model.config, max_len))
        self.goal_state = goal_state
        self.passes = Passes(model)

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
            UserError: no whole reward model there, or the goal state of another model.
        """
        if isinstance(goal_state, str | Path):  # before a large model is loaded
            check_goal_state(Path(goal_state), str(path))
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

    def stream(self, question: Prompt) -> Stream:
        """Samples of a question, to be scored while they are generated.

        Raises:
            UserError: the question is neither text nor messages, or longer than `max_len`.
        """
        return Stream(self.encoder, self._new_growing(), self.goal_state, question)

    @cached_property
    def _new_growing(self) -> Callable[[], Growing]:
        return choose_growing(self.passes)

    def score_encoded(
        self, encoded: Sequence[Encoded], tokens_per_batch: int | None = None
    ) -> Scores:
        """Score encoded completions; a score does not depend on what else is in its batch.

        Args:
            tokens_per_batch: most tokens in one forward pass, with prompts and padding (default:
                what suits device and model).
        """
        distinct, which = unique(encoded)
        scores = Scores.zeros(distinct, self.goal_state is not None)
        for _ in self.score_batches(
            distinct, self.passes.batches(distinct, tokens_per_batch), scores
        ):
            pass
        return scores.take(which)

    def score_batches(
        self, encoded: Sequence[Encoded], batches: Iterable[Batch], scores: Scores
    ) -> Iterator[Batch]:
        """Score batch by batch: yields a batch once its scores are in place.

        Args:
            batches: of indices into `encoded`.
            scores: `Scores.zeros` of the same completions, which is filled.

        Raises:
            UserError: a reward is NaN or infinite.
        """
        passes = self._score(encoded, batches)
        if self.model.device.type != "cpu":
            # The next pass is under way before the scores of the last one are waited for.
            passes = one_behind(passes)
        for rows, fetched, batch in passes:
            found = fetched()
            self.passes.check_finite(found["partial_rewards"])
            for name, values in scores.of_tokens.items():
                values.put(rows, found[name])
            if batch is not None:
                yield batch

    def _score(
        self, encoded: Sequence[Encoded], batches: Iterable[Batch]
    ) -> Iterator[tuple[list[int], Fetched, Batch | None]]:
        """The scores of each pass, on their way to the CPU; with its last pass also the batch."""
        for batch in batches:
            left = len(batch.passes)
            for rows, hidden, rewards in self.passes(encoded, batch):
                left -= 1
                fetched = fetch_scores(hidden, rewards, self.goal_state)
                yield rows, fetched, None if left else batch


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
