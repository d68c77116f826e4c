"""Samples from a server's language model, which a reward model here reads and ends on the way.

Chunk by chunk: the server continues the text of each sample by a few tokens, the reward model reads
them as text, a rule says which samples end, and the others go on. A server that keeps the keys and
values of prefixes, as vLLM does by default, computes little twice.
"""

import hashlib
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from gcrm.data.messages import Prompt
from gcrm.decoding.completions import CompletionServer
from gcrm.decoding.judge import UNFINISHED
from gcrm.decoding.live import Clock, Plan, Sample, Solved, follow
from gcrm.decoding.rules import Rule
from gcrm.decoding.watch import Watch
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores
from gcrm.modeling.tokenization import Encoder


@dataclass(frozen=True)
class ServedSample(Sample):
    """A sample from a server.

    Attributes:
        scores: of the reward model's tokens.
    """

    scores: TokenScores


def sample_from_server(
    server: CompletionServer,
    reward_model: RewardModel,
    questions: Sequence[Prompt],
    tokenizer: PreTrainedTokenizerBase,
    rule: Rule | None = None,
    plan: Plan | None = None,
) -> list[list[ServedSample]]:
    """The samples of each question.

    Args:
        tokenizer: of the server's language model, with its chat template.
        rule: says which samples of a question end; None to score them only.

    Raises:
        UserError: the server fails, see `CompletionServer.complete`; or the reward model refuses a
            question, see `RewardModel.stream`.
    """
    generator = ServedGenerator(server, tokenizer, plan or Plan())
    found: list[list[ServedSample]] = []
    for batch in generator.batches(questions):
        asked = [questions[place] for place in batch]
        watch = generator.watch(asked, reward_model, [rule] * len(asked))
        scores = iter(watch.scores)
        for solved in generator.follow(asked, watch, Clock()):
            found.append([ServedSample(**vars(s), scores=next(scores)) for s in solved.samples])
    return found


class ServedGenerator:
    """A language model on a server that generates the samples of problems by a plan.

    Args:
        tokenizer: of the server's language model: its chat template makes the prompts, and it
            counts tokens that the server does not count.

    Attributes:
        parameters: of the language model that multiply each token; NaN where that is unknown.
    """

    def __init__(self, server: CompletionServer, tokenizer: PreTrainedTokenizerBase, plan: Plan):
        self.server, self.tokenizer, self.plan = server, tokenizer, plan
        self.parameters = float("nan")
        self._encoder = Encoder(tokenizer, max_len=1)  # max_len does not apply to prompts

    def prompt(self, question: Prompt) -> str:
        """What the language model sees of a question, as a server expects it: without BOS at the
        beginning, which servers put there themselves.
        """
        return self._encoder.render(question).removeprefix(str(self.tokenizer.bos_token or ""))

    def try_out(self, question: Prompt) -> None:
        """Ask the server for one token.

        Raises:
            UserError: it does not give any.
        """
        self.server.complete(self.prompt(question), 1, self.plan.temperature, self.plan.seed)

    def batches(self, questions: Sequence[Prompt]) -> list[list[int]]:
        """Numbers of questions that are solved together."""
        rows, at_once = list(range(len(questions))), self.plan.questions_at_once
        return [rows[first : first + at_once] for first in range(0, len(rows), at_once)]

    def solve(
        self,
        questions: Sequence[Prompt],
        reward_model: RewardModel | None = None,
        rules: Sequence[Rule | None] | None = None,
    ) -> list[Solved]:
        """The samples of a batch of questions; see `Generator.solve`.

        Seconds of the language model are those of waiting for the server.
        """
        clock, watch = Clock(), None
        with clock.of(1):
            if reward_model is not None:
                watch = self.watch(questions, reward_model, rules or [None] * len(questions))
        return self.follow(questions, watch, clock)

    def watch(
        self,
        questions: Sequence[Prompt],
        reward_model: RewardModel,
        rules: Sequence[Rule | None],
    ) -> Watch:
        """What reads the samples of some questions."""
        return Watch(reward_model, None, questions, self.plan.samples, rules, self.plan.skip)

    def follow(
        self, questions: Sequence[Prompt], watch: Watch | None, clock: Clock
    ) -> list[Solved]:
        """Let the samples of some questions grow to their end."""
        prompts = [self.prompt(question) for question in questions]
        samples = ServerSamples(self.server, self.tokenizer, prompts, self.plan)
        lengths = [len(self._encoder.prompt_ids(question)) for question in questions]
        return follow(samples, watch, self.plan, lengths, clock)


class ServerSamples:
    """Samples that grow on a server, see `gcrm.decoding.live.Samples`.

    Args:
        prompts: texts before the samples, equally many samples of each.
    """

    def __init__(
        self,
        server: CompletionServer,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        plan: Plan,
    ):
        self._server, self._tokenizer = server, tokenizer
        self._prompts, self._plan = prompts, plan
        count = len(prompts) * plan.samples
        self._texts = [""] * count
        self.finished = [False] * count
        self.generated = [0] * count
        self.running = list(range(count))

    def grow(self, most: int) -> None:
        """Ask for up to `most` more tokens of each running sample."""
        with ThreadPoolExecutor(self._server.parallel) as pool:
            asked = [pool.submit(self._continue, row, most) for row in self.running]
            try:
                for one in asked:
                    one.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self.drop([row for row in self.running if self.finished[row] or self._left(row) <= 0])

    def _left(self, row: int) -> int:
        return self._plan.max_new_tokens - self.generated[row]

    def _continue(self, row: int, most: int) -> None:
        plan, prompt = self._plan, self._prompts[row // self._plan.samples]
        found = self._server.complete(
            prompt + self._texts[row],
            min(most, self._left(row)),
            plan.temperature,
            _seed(plan.seed, prompt, row % plan.samples, self.generated[row]),
        )
        # Of a letter that is not whole, the server would continue the replacement.
        whole = found.text if found.finished else found.text.rstrip(UNFINISHED)
        self._texts[row] += whole
        self.finished[row] = found.finished
        self.generated[row] += max(found.tokens or self._count(found.text), 1)

    def _count(self, text: str) -> int:
        """Tokens of the end of a sample, of whose number a server says nothing."""
        return len(self._tokenizer(text, add_special_tokens=False).input_ids) + 1

    def drop(self, rows: Collection[int]) -> None:
        """End samples."""
        self.running = [row for row in self.running if row not in rows]

    def show(self, watch: Watch, rows: Sequence[int]) -> list[int]:
        """Let a reward model read what is new of some samples; returns those that a rule ends."""
        return watch.check_texts(
            {row: self._texts[row] for row in rows},
            {row: self.generated[row] for row in rows},
            [row for row in rows if row not in self.running],
        )

    def text(self, row: int) -> str:
        """The text of a sample."""
        return self._texts[row]


def _seed(*parts: object) -> int:
    """A seed for each request, the same in every run; 31 bits, which all servers take."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) >> 1
