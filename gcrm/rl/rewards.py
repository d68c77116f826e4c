"""A reward model as the reward function of an RL trainer: TRL's, OpenRLHF's or verl's.

    trainer = GRPOTrainer(model, reward_funcs=reward_function("models/contrastive/seed0"), ...)

The reward is that of `RewardModel.score`. A completion that was cut off before its EOS is scored as
if it ended there; `missing_eos_penalty` is subtracted from its reward, where the trainer tells.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from gcrm.data.layouts import checked_prompt
from gcrm.data.messages import checked_completion, read_messages
from gcrm.modeling.reward_model import RewardModel, Scores
from gcrm.modeling.tokenization import Encoded
from gcrm.utils.errors import UserError

LogMetric = Callable[[str, float], None]


class RewardFunction:
    """Rewards of completions, in the form of TRL's `reward_funcs` (GRPOTrainer, RLOOTrainer).

    Args:
        reward_model: what scores; with a goal state, its mean Q-value of last tokens is logged.
        missing_eos_penalty: subtracted from the reward of a completion without EOS.
        eos_token_ids: the policy's tokens that end a completion (default: the reward model's EOS).
    """

    __name__ = "gcrm"  # TRL logs rewards/gcrm/mean

    def __init__(
        self,
        reward_model: RewardModel,
        *,
        missing_eos_penalty: float = 0.0,
        eos_token_ids: Collection[int] | None = None,
    ):
        self.reward_model = reward_model
        self._penalty, self._mean, self._std = missing_eos_penalty, 0.0, 1.0
        self._ends = eos_token_ids or [reward_model.encoder.eos_id]
        self._lock = Lock()  # OpenRLHF and verl call it from several threads

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float]:
        """The reward of each completion.

        Args:
            prompts: questions, or lists of messages.
            completions: texts, or lists with one message of the assistant.
            completion_ids: the policy's tokens of each, to see which have no EOS.
            log_metric: TRL's; gets the mean Q-value, where there is a goal state.
            columns: other columns of the data, which are not needed.

        Raises:
            UserError: a prompt or a completion is of another form, or a prompt is too long.
        """
        texts = map(_text_of, completions)
        asked = [checked_prompt(prompt, "prompt") for prompt in prompts]
        encoder = self.reward_model.encoder
        scores = self.score(encoder.encode_many(zip(asked, texts, strict=True)))
        if completion_ids is None:
            cut_off = [False] * len(completions)
        else:
            cut_off = [not ids or ids[-1] not in self._ends for ids in completion_ids]
        if log_metric is not None and scores.q_values is not None:
            log_metric("q_value", _mean_q_value(scores))
        return self.rewards(scores, cut_off)

    def standardise(self, texts: Sequence[tuple[Any, str]]) -> None:
        """From now on, subtract the mean of these completions' rewards, and divide by their spread.

        So one weight of a KL term means the same for several reward models.

        Args:
            texts: prompts with completions, such as those of the training pairs.

        Raises:
            UserError: they all have the same reward.
        """
        asked = [(checked_prompt(prompt, "prompt"), text) for prompt, text in texts]
        rewards = self.score(self.reward_model.encoder.encode_many(asked)).reward
        if np.ptp(rewards) == 0:
            raise UserError(
                f"all {len(texts)} completions have the reward {rewards[0]:g}, by which rewards "
                "cannot be standardised; the reward model does not distinguish them"
            )
        self._mean, self._std = float(rewards.mean()), float(rewards.std())

    def score(self, encoded: Sequence[Encoded]) -> Scores:
        """The scores of encoded completions; one thread at a time."""
        with self._lock:
            return self.reward_model.score_encoded(encoded)

    def rewards(self, scores: Scores, cut_off: Sequence[bool]) -> list[float]:
        """The standardised rewards, less the penalty where a completion is cut off."""
        standardised = (scores.reward.astype(float) - self._mean) / self._std
        return [
            float(reward) - self._penalty * cut
            for reward, cut in zip(standardised, cut_off, strict=True)
        ]


def reward_function(
    path: str | Path,
    goal_state: str | Path | None = None,
    *,
    missing_eos_penalty: float = 0.0,
    eos_token_ids: Collection[int] | None = None,
    **loading: Any,
) -> RewardFunction:
    """The reward function of a reward model on disk, for TRL.

    Args:
        path: reward model: folder or hub id.
        goal_state: logs the mean Q-value as `q_value`: .npy file, or a folder with goal_state.npy.
        missing_eos_penalty, eos_token_ids: see `RewardFunction`.
        loading: further options of `RewardModel.from_pretrained`, such as max_len.

    Raises:
        UserError: it cannot be loaded.
    """
    reward_model = RewardModel.from_pretrained(path, goal_state, **loading)
    return RewardFunction(
        reward_model, missing_eos_penalty=missing_eos_penalty, eos_token_ids=eos_token_ids
    )


def openrlhf_reward(
    path: str | Path,
    goal_state: str | Path | None = None,
    *,
    rendered: bool = False,
    eos_token: str | None = None,
    **options: Any,
) -> Callable[[Sequence[str], Sequence[str], Sequence[Any]], dict[str, Any]]:
    """The function `reward_func` of a Python file that OpenRLHF takes as --reward.remote_url.

    A query is the text of a prompt, the completion and EOS.

    Args:
        rendered: prompts went through a chat template (--data.apply_chat_template): they are
            scored as they stand, and not put into the reward model's template.
        eos_token: the policy's text at the end of a completion (default: the reward model's).
        options: further options of `reward_function`.

    Raises:
        UserError: see `reward_function`; of the function: a query does not begin with its prompt.
    """
    function = reward_function(path, goal_state, **options)
    encoder = function.reward_model.encoder
    end = eos_token or str(encoder.tokenizer.eos_token)

    def reward_func(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]
    ) -> dict[str, Any]:
        encoded, cut_off = [], []
        for query, prompt in zip(queries, prompts, strict=True):
            text = _after(prompt, query)
            cut_off.append(not text.rstrip().endswith(end))
            if not cut_off[-1]:
                text = text.rstrip().removesuffix(end)
            if rendered:
                encoded.append(encoder.encode_rendered(prompt, text))
            else:
                encoded.append(encoder.encode(checked_prompt(prompt, "prompt"), text))
        scores = function.score(encoded)
        rewards = torch.tensor(function.rewards(scores, cut_off))
        logs = {} if scores.q_values is None else {"q_value": _mean_q_value(scores)}
        return {"rewards": rewards, "scores": rewards, "extra_logs": logs}

    return reward_func


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    *,
    reward_model_path: str,
    goal_state_path: str | None = None,
    prompt_key: str = "question",
    **others: Any,
) -> dict[str, float]:
    """The score of a completion, for verl's reward.custom_reward_function.

    verl removes special tokens beforehand, so a completion without EOS looks like any other.

    Args:
        solution_str: the completion.
        extra_info: columns of the row; the one named `prompt_key` has the question or messages.
        reward_model_path, goal_state_path, prompt_key: given as reward_kwargs in verl's config.
        data_source, ground_truth, others: what verl gives beside, which is not needed.

    Returns:
        `score`, and with a goal state `q_value`, which verl logs.

    Raises:
        UserError: the row has no such column, or it is not a prompt.
    """
    prompt = (extra_info or {}).get(prompt_key)
    if prompt is None:
        known = ", ".join(extra_info or {}) or "nothing"
        raise UserError(
            f"extra_info has no {prompt_key!r} (it has: {known}); write the question into the "
            "column extra_info of the data, or name its key by reward_kwargs.prompt_key"
        )
    function = _loaded(reward_model_path, goal_state_path)
    checked = checked_prompt(prompt, f"extra_info.{prompt_key}")
    scores = function.score([function.reward_model.encoder.encode(checked, solution_str)])
    found = {"score": float(scores.reward[0])}
    if scores.q_values is not None:
        found["q_value"] = _mean_q_value(scores)
    return found


@lru_cache(maxsize=4)
def _loaded(path: str, goal_state: str | None) -> RewardFunction:
    return reward_function(path, goal_state)


def _mean_q_value(scores: Scores) -> float:
    """Mean Q-value of the last tokens of all completions."""
    assert scores.q_values is not None
    return float(scores.q_values.at_percentile(1.0).mean())


def _text_of(completion: Any) -> str:
    """The text of a completion: its own, or that of the one message of the assistant."""
    if not isinstance(completion, list):
        return checked_completion(completion, "completion")
    turns = read_messages(completion, "completion", "reward function")
    if [turn["role"] for turn in turns] != ["assistant"]:
        raise UserError(
            f"completion: expected one message of the assistant, not {len(turns)} messages of "
            f"{', '.join(turn['role'] for turn in turns)}; calls of tools are not supported"
        )
    return checked_completion(turns[0]["content"], "completion")


def _after(prompt: str, query: str) -> str:
    """What follows the prompt in a query; decoding may have changed its white space."""
    if query.startswith(prompt):
        return query[len(prompt) :]
    end = 0
    for letter in "".join(prompt.split()):
        while end < len(query) and query[end].isspace():
            end += 1
        if query[end : end + 1] != letter:
            raise UserError(
                f"the query {query[:40]!r} … does not begin with its prompt {prompt[:40]!r} …"
            )
        end += 1
    return query[end:]
