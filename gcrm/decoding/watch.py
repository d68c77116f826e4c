"""A reward model that reads samples while they grow, and a rule that says which of them end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gcrm.data.messages import Prompt
from gcrm.decoding.rules import Rule
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores
from gcrm.utils.errors import UserError


@dataclass(frozen=True)
class Known:
    """What is known of a sample: None where there is no such score yet.

    Attributes:
        q_value: its smallest Q-value so far behind the skipped tokens. reward: its reward so far.
    """

    q_value: float | None
    reward: float | None

    @classmethod
    def of(cls, scores: TokenScores, skip: int) -> "Known":
        """What the scores of a sample's tokens say."""
        lowest = None
        if scores.q_values is not None and len(scores.q_values) > skip:
            lowest = float(scores.q_values[skip:].min())
        return cls(lowest, float(scores.rewards[-1]) if len(scores.rewards) else None)


class Watch:
    """Samples of questions, equally many of each, in the order of the questions.

    Args:
        samples: of each question.
        rule: None for samples that are only read.
        skip: first tokens whose Q-values the rule does not look at.
        as_text: samples are given as text, and not as tokens of the reward model.

    Attributes:
        dropped: samples that the rule has ended.
        scores: of each sample's tokens, as far as they have been read.

    Raises:
        UserError: a rule by Q-values, and a reward model without a goal state.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        questions: Sequence[Prompt],
        samples: int,
        rule: Rule | None,
        skip: int,
        as_text: bool,
    ):
        if rule is not None and rule.by == "q_value" and reward_model.goal_state is None:
            raise UserError("a filter by q_value needs a reward model with a goal state")
        self._samples, self._rule, self._skip, self._as_text = samples, rule, skip, as_text
        self._stream = reward_model.stream(questions[0])
        handles = [handle for one in questions for handle in self._stream.add(samples, one)]
        self._handles = dict(enumerate(handles))  # of samples that are not over
        self._kept = [0] * len(questions)  # samples that ended by themselves
        self.dropped: set[int] = set()
        self.scores = [self._stream.scores(handle) for handle in handles]

    @property
    def running(self) -> list[int]:
        """The samples that are not over."""
        return list(self._handles)

    @property
    def tokens_read(self) -> int:
        """Tokens that the reward model has computed, prompts included."""
        return self._stream.tokens_read

    def check(self, new: Mapping[int, Sequence[int] | str], ended: Collection[int]) -> list[int]:
        """Read what is new of samples; returns those of them that end here by the rule.

        Args:
            new: tokens or text of each running sample, or nothing.
            ended: samples that end here by themselves.
        """
        given = {self._handles[row]: piece for row, piece in new.items() if row in self._handles}
        if self._as_text:
            self._stream.push_text(given)  # type: ignore[arg-type]
        else:
            self._stream.push(given)  # type: ignore[arg-type]
        ended = [row for row in ended if row in self._handles]
        self._stream.finish([self._handles[row] for row in ended])
        for row, handle in self._handles.items():
            self.scores[row] = self._stream.scores(handle)
        dropped = [row for place in range(len(self._kept)) for row in self._drop(place, ended)]
        for row in ended:
            self._kept[row // self._samples] += row not in dropped
        self.dropped.update(dropped)
        self._stream.drop([self._handles.pop(row) for row in {*dropped, *ended}])
        return dropped

    def _drop(self, place: int, ended: Collection[int]) -> list[int]:
        """The samples of a question that the rule ends."""
        rows = [row for row in self._handles if row // self._samples == place]
        if self._rule is None or not rows:
            return []
        known = [Known.of(self.scores[row], self._skip) for row in rows]
        running = [row not in ended for row in rows]
        return [rows[one] for one in self._rule.dropped(known, running, self._kept[place])]
