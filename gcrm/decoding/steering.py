"""Guided decoding towards goal states, beside the methods that it should beat.

Every method answers the same problems with as many drawn samples a round: what differs is what the
search goes by. Plain sampling, the baseline, draws a single solution.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from transformers import set_seed

from gcrm.config.steer import SteerOptions
from gcrm.decoding.judge import Kind, StreamJudge
from gcrm.decoding.policy import Policy
from gcrm.decoding.search import (
    Found,
    Judge,
    NoJudge,
    Plan,
    Score,
    by_value,
    guided,
    likelihood,
    search,
)
from gcrm.lineage.provenance import check_goal_state
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.loading import load_generator
from gcrm.modeling.reward_model import RewardModel, read_goal_state
from gcrm.utils.errors import UserError
from gcrm.utils.logging import Progress, say
from gcrm.utils.paths import short_name

SAMPLING = "sampling"
"""the baseline: one sample"""


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        name: of its files and rows. attribute: that it steers to, if any; "" is the joint goal.
        judged: what its judge says of a step; None without a judge.
        score: of a beam. plan: how much is drawn.
    """

    name: str
    attribute: str | None
    judged: Kind | None
    score: Score
    plan: Plan


@dataclass(frozen=True)
class Outcome:
    """What a method found for each problem, all of shape (problems,).

    Attributes:
        texts: the solutions. ends: which of them are whole. scores: of their beams.
        generated: tokens that the language model drew.
        policy_tokens, reward_tokens: tokens that the language model and the reward model computed,
            prompts and what they read again included; of the reward model the mean over problems
            that were searched together.
    """

    texts: list[str] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    policy_tokens: list[int] = field(default_factory=list)
    reward_tokens: list[float] = field(default_factory=list)

    def __add__(self, other: "Outcome") -> "Outcome":
        """The problems of both."""
        parts = vars(other)
        return Outcome(**{name: [*values, *parts[name]] for name, values in vars(self).items()})


def methods_of(options: SteerOptions) -> list[Method]:
    """Plain sampling, then the methods asked for; those with a goal once for each attribute."""
    plan = Plan(options.beams, options.samples, options.step_tokens, options.max_new_tokens)
    one = replace(plan.at_once, samples=1)
    found = [Method(SAMPLING, None, None, by_value, one)]
    ways: dict[str, tuple[Kind | None, Score, Plan]] = {
        "likelihood-beam": (None, likelihood, plan),
        "reward-best": ("reward", by_value, plan.at_once),
        "reward-beam": ("reward", by_value, plan),
        "goal-best": ("q_value", by_value, plan.at_once),
        "goal-beam": ("q_value", by_value, plan),
        "guided": ("q_value", guided(options.rho), plan),
    }
    for name in options.methods:
        judged, score, shape = ways[name]
        for attribute in options.goal_states() if judged == "q_value" else [None]:
            label = f"{name}-{attribute}" if attribute else name
            found.append(Method(label, attribute, judged, score, shape))
    return found


class Steering:
    """The models, ready to answer questions by any method.

    Raises:
        UserError: a model or goal state cannot be read, they do not belong together, or the options
            name an attribute that has no goal state.
    """

    def __init__(self, options: SteerOptions):
        self.options = options
        goal_states = options.goal_states() if options.needs_goal_state else {}
        for name, file in goal_states.items():
            _check_there(file, name)
            check_goal_state(file, options.reward_model_path)
        self.model, self.tokenizer = load_generator(
            options.model, options.chat_template, options.trust_remote_code
        )
        self.reward_model = RewardModel.from_pretrained(**options.loading)
        module: nn.Module = self.model  # whose `to` is typed
        module.to(self.reward_model.model.device)
        width, device = self.reward_model.hidden_size, self.reward_model.model.device
        self.goals = {
            name: read_goal_state(file, width).to(device) for name, file in goal_states.items()
        }

    @property
    def numerics(self) -> tuple[Any, ...]:
        """What the last digits of its scores depend on, beside the files of the models."""
        return self.reward_model.numerics

    def answer(self, method: Method, questions: Sequence[str], seed: int) -> Outcome:
        """Search solutions to some questions, all at once."""
        options = self.options
        set_seed(seed)
        policy = Policy(
            self.model, self.tokenizer, questions, options.temperature, options.max_new_tokens
        )
        judge: Judge = NoJudge()
        if method.judged is not None:
            reward_model = copy.copy(self.reward_model)
            reward_model.goal_state = self.goals.get(method.attribute or "")
            judge = StreamJudge(reward_model, self.tokenizer, questions, method.judged)
        found = search(len(questions), policy, judge, method.score, method.plan)
        read = judge.tokens_read if isinstance(judge, StreamJudge) else 0
        return self._outcome(found, policy.tokens_read, read / len(questions))

    def _outcome(self, found: Found, policy_tokens: list[int], reward_tokens: float) -> Outcome:
        solutions = [list(beam.tokens[: -1 if beam.ends else None]) for beam in found.best]
        texts = [str(self.tokenizer.decode(ids, skip_special_tokens=True)) for ids in solutions]
        return Outcome(
            texts,
            [beam.ends for beam in found.best],
            [beam.score for beam in found.best],
            found.drawn,
            policy_tokens,
            [reward_tokens] * len(texts),
        )

    def solve(self, questions: Sequence[str], unfinished: Unfinished) -> dict[str, Outcome]:
        """The solutions of each method, by its name; plain sampling is the first.

        The draws of a method depend on its name, the seed, the batch size and the questions alone:
        other methods can be added without a change.

        Args:
            unfinished: where the solutions of the methods that are done are kept.
        """
        methods = methods_of(self.options)
        name = f"steer {short_name(self.options.save_dir)}"
        progress = Progress(name, len(methods) * len(questions), "search")
        found = {}
        for method in methods:
            kept = [*unfinished.read(method.name)]
            if kept:
                say(f"{name}: resuming: {method.name} is done")
                progress.advance(len(questions))
                lists = {key: array.tolist() for key, array in kept[0].items()}
                found[method.name] = Outcome(**lists)
                continue
            found[method.name] = outcome = self._solve(method, questions, progress)
            unfinished.write(
                method.name, {key: np.array(values) for key, values in vars(outcome).items()}
            )
        return found

    def _solve(self, method: Method, questions: Sequence[str], progress: Progress) -> Outcome:
        """The solutions of one method, in the order of the questions."""
        options = self.options
        at_once = max(1, options.batch_size // (options.beams * options.samples))
        # Questions of similar length together, for less padding.
        order = sorted(range(len(questions)), key=lambda n: (len(questions[n]), n))
        whole = Outcome()
        for begin in range(0, len(order), at_once):
            batch = [questions[n] for n in order[begin : begin + at_once]]
            whole += self.answer(method, batch, _seed(options.seed, method.name, begin))
            progress.advance(len(batch), note=method.name)
        places = np.argsort(order)
        return Outcome(
            **{key: [values[place] for place in places] for key, values in vars(whole).items()}
        )


def _seed(seed: int, method: str, begin: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {method} {begin}".encode()).digest()[:4])


def _check_there(file: Path, attribute: str) -> None:
    """Check that the goal state of an attribute is there.

    Raises:
        UserError: it is not.
    """
    if attribute and not file.is_file():
        files = file.parent.glob("goal_state-*.npy")
        found = sorted(one.stem.removeprefix("goal_state-") for one in files)
        raise UserError(
            f"{file}: no such file, so there is no goal state of {attribute}; known are "
            f"{', '.join(found) or 'none'} (`represent --attributes {attribute}` makes one)"
        )
