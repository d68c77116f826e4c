"""A reward model that reads samples while they grow, and rules that say which of them end."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from gcrm.data.messages import Prompt
from gcrm.decoding.judge import UNFINISHED, same_tokens
from gcrm.decoding.rules import Rule
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores
from gcrm.utils.errors import UserError


@dataclass(frozen=True)
class Check:
    """What was known of a sample when it was looked at.

    Attributes:
        generated: its tokens so far, with the one that ended it.
        read: tokens that the reward model read for this check.
        q_value: smallest Q-value so far after the skipped tokens; None where there is none.
        reward: of the sample so far; None before the first token that the reward model can read.
    """

    generated: int
    read: int
    q_value: float | None
    reward: float | None


class Watch:
    """Samples of questions, equally many of each, in the order of the questions.

    Args:
        tokenizer: of the language model whose samples these are. Where its tokens are not those of
            the reward model, their text is read; None for samples that are given as text.
        samples: of each question.
        rules: of each question; None for samples that are only read.
        skip: first tokens whose Q-values the rules do not look at.

    Attributes:
        prompt_tokens: of each question, as the reward model reads it.
        dropped: samples that a rule has ended.
        checks: of each sample.
        scores: of each sample's tokens, as far as they have been read.

    Raises:
        UserError: a rule by Q-values, and a reward model without a goal state.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        tokenizer: PreTrainedTokenizerBase | None,
        questions: Sequence[Prompt],
        samples: int,
        rules: Sequence[Rule | None],
        skip: int,
    ):
        if reward_model.goal_state is None and any(rule and rule.by == "q_value" for rule in rules):
            raise UserError("a filter by q_value needs a reward model with a goal state")
        self._samples, self._rules, self._skip, self._tokenizer = samples, rules, skip, tokenizer
        self._same_tokens = bool(tokenizer and same_tokens(tokenizer, reward_model.tokenizer))
        self._stream = reward_model.stream(questions[0])
        handles: list[int] = []
        self.prompt_tokens: list[int] = []
        for question in questions:
            handles += self._stream.add(samples, question)
            self.prompt_tokens.append(self._stream.tokens_read - sum(self.prompt_tokens))
        self._handles = dict(enumerate(handles))  # of samples that are not over
        self._given = [0] * len(handles)  # tokens, or letters, of each sample that were pushed
        self._kept = [0] * len(questions)  # samples that ended by themselves
        self.dropped: set[int] = set()
        self.checks: list[list[Check]] = [[] for _ in handles]
        self.scores = [self._stream.scores(handle) for handle in handles]

    @property
    def running(self) -> list[int]:
        """The samples that are not over."""
        return list(self._handles)

    @property
    def tokens_read(self) -> int:
        """Tokens that the reward model has computed, prompts included."""
        return self._stream.tokens_read

    def check_tokens(
        self,
        tokens: Mapping[int, Sequence[int]],
        generated: Mapping[int, int],
        ended: Collection[int],
    ) -> list[int]:
        """Read what is new of samples; returns those of them that end here by their rule.

        Args:
            tokens: all tokens of each running sample so far, without one that ended it.
            generated: their number, with the one that ended it.
            ended: samples that end here by themselves.
        """
        if not self._same_tokens:
            assert self._tokenizer is not None
            texts = {
                row: str(self._tokenizer.decode([*ids], skip_special_tokens=True))
                for row, ids in tokens.items()
            }
            return self.check_texts(texts, generated, ended)
        before = self._stream.tokens_read
        new = {row: ids[self._given[row] :] for row, ids in tokens.items()}
        self._note(tokens)
        found = self._stream.push({self._handles[row]: piece for row, piece in new.items()})
        return self._check(before, found, generated, ended)

    def check_texts(
        self, texts: Mapping[int, str], generated: Mapping[int, int], ended: Collection[int]
    ) -> list[int]:
        """As `check_tokens`, for all the text of each sample so far; only whole letters count."""
        before = self._stream.tokens_read
        whole = {
            row: text if row in ended else text.rstrip(UNFINISHED) for row, text in texts.items()
        }
        new = {row: text[self._given[row] :] for row, text in whole.items()}
        self._note(whole)
        found = self._stream.push_text({self._handles[row]: piece for row, piece in new.items()})
        return self._check(before, found, generated, ended)

    def _note(self, whole: Mapping[int, Sequence[int] | str]) -> None:
        """Remember how much of each sample has been pushed."""
        for row, given in whole.items():
            self._given[row] = max(self._given[row], len(given))

    def _check(
        self,
        before: int,
        pushed: Mapping[int, TokenScores],
        generated: Mapping[int, int],
        ended: Collection[int],
    ) -> list[int]:
        """Read the ends of samples, and look at all of them."""
        finished = self._stream.finish([self._handles[row] for row in ended])
        new = {
            row: sum(len(one[handle].rewards) for one in (pushed, finished) if handle in one)
            for row, handle in self._handles.items()
        }
        # More than the new tokens are read where an architecture has no cache.
        for_each = (self._stream.tokens_read - before) / max(sum(new.values()), 1)
        for row, handle in self._handles.items():
            self.scores[row] = scores = self._stream.scores(handle)
            read = round(for_each * new[row])
            self.checks[row].append(Check(generated[row], read, *_known(scores, self._skip)))
        dropped = [
            row for place, rule in enumerate(self._rules) for row in self._drop(place, rule, ended)
        ]
        for row in ended:
            self._kept[row // self._samples] += row not in dropped
        self.dropped.update(dropped)
        self._stream.drop([self._handles.pop(row) for row in {*dropped, *ended}])
        return dropped

    def _drop(self, place: int, rule: Rule | None, ended: Collection[int]) -> Iterable[int]:
        """The samples of a question that its rule ends."""
        rows = [row for row in self._handles if row // self._samples == place]
        if rule is None or not rows:
            return []
        checks = [self.checks[row][-1] for row in rows]
        running = [row not in ended for row in rows]
        return [rows[one] for one in rule.dropped(checks, running, self._kept[place])]


def _known(scores: TokenScores, skip: int) -> tuple[float | None, float | None]:
    """Q-value and reward of a `Check`."""
    lowest = None
    if scores.q_values is not None and len(scores.q_values) > skip:
        lowest = float(scores.q_values[skip:].min())
    return lowest, float(scores.rewards[-1]) if len(scores.rewards) else None
