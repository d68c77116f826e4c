"""Samples from a server's language model, which a reward model here reads and ends on the way.

Chunk by chunk: the server continues the text of each sample by a few tokens, the reward model reads
them as text, a rule says which samples end, and the others go on. A server that keeps the keys and
values of prefixes, as vLLM does by default, computes little twice.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from gcrm.data.messages import Prompt
from gcrm.decoding.completions import CompletionServer
from gcrm.decoding.rules import Rule
from gcrm.decoding.watch import Watch
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores
from gcrm.modeling.tokenization import Encoder

UNFINISHED = "\ufffd"
"""what a server writes for a letter whose last bytes are not there yet"""


@dataclass(frozen=True)
class ServedSample:
    """A sample from a server.

    Attributes:
        finished: the model ended it. dropped: the rule did.
        generated: tokens of the server's model. scores: of the reward model's tokens.
    """

    text: str
    finished: bool
    dropped: bool
    generated: int
    scores: TokenScores


@dataclass(frozen=True)
class ServerPlan:
    """How samples are drawn from a server.

    Attributes:
        samples: of each question. max_new_tokens: longest sample, in tokens.
        chunk: tokens that are asked for at once; after each, the rule looks at the samples.
        skip: first tokens whose Q-values the rule does not look at.
        parallel: requests at once.
    """

    samples: int = 8
    max_new_tokens: int = 512
    chunk: int = 32
    temperature: float = 1.0
    skip: int = 5
    seed: int = 0
    parallel: int = 32


def prompt_renderer(tokenizer: PreTrainedTokenizerBase) -> Callable[[Prompt], str]:
    """What a language model sees of a question, by its chat template, as a server expects it.

    Without BOS at the beginning, which servers put there themselves.
    """
    encoder = Encoder(tokenizer, max_len=1)  # max_len does not apply to prompts

    def render(question: Prompt) -> str:
        return encoder.render(question).removeprefix(str(tokenizer.bos_token or ""))

    return render


def sample_from_server(
    server: CompletionServer,
    reward_model: RewardModel,
    questions: Sequence[Prompt],
    render: Callable[[Prompt], str],
    rule: Rule | None = None,
    plan: ServerPlan | None = None,
) -> list[list[ServedSample]]:
    """The samples of each question.

    Args:
        render: makes the server's prompt of a question; see `prompt_renderer`.
        rule: says which samples of a question end; None to score them only.

    Raises:
        UserError: the server fails, see `CompletionServer.complete`; or a question is no prompt of
            the reward model, see `RewardModel.stream`.
    """
    plan = plan or ServerPlan()
    watch = Watch(reward_model, questions, plan.samples, rule, plan.skip, as_text=True)
    sampler = ServerSampler(server, [render(question) for question in questions], plan)
    pushed = [0] * len(sampler.texts)
    while sampler.running:
        rows = sampler.running
        sampler.grow(plan.chunk)
        new = {row: sampler.texts[row][pushed[row] :] for row in rows}
        for row, piece in new.items():
            pushed[row] += len(piece)
        sampler.drop(watch.check(new, [row for row in rows if row not in sampler.running]))
    found = [
        ServedSample(
            sampler.texts[row],
            sampler.finished[row],
            row in watch.dropped,
            sampler.generated[row],
            watch.scores[row],
        )
        for row in range(len(sampler.texts))
    ]
    of_each = plan.samples
    return [found[place * of_each :][:of_each] for place in range(len(questions))]


class ServerSampler:
    """Samples that grow on a server.

    Args:
        prompts: texts before the samples, equally many samples of each.

    Attributes:
        texts: of each sample so far. finished: whether the model ended it.
        generated: its tokens so far. running: the samples that go on.
    """

    def __init__(self, server: CompletionServer, prompts: Sequence[str], plan: ServerPlan):
        self._server, self._prompts, self._plan = server, prompts, plan
        count = len(prompts) * plan.samples
        self.texts = [""] * count
        self.finished = [False] * count
        self.generated = [0] * count
        self.running = list(range(count))

    def grow(self, most: int) -> None:
        """Ask for up to `most` more tokens of each running sample."""
        with ThreadPoolExecutor(self._plan.parallel) as pool:
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
            prompt + self.texts[row],
            min(most, self._left(row)),
            plan.temperature,
            _seed(plan.seed, prompt, row % plan.samples, self.generated[row]),
        )
        # Of a letter that is not whole, the server would continue the replacement.
        whole = found.text if found.finished else found.text.rstrip(UNFINISHED)
        self.texts[row] += whole
        self.finished[row] = found.finished
        self.generated[row] += max(found.tokens, 1)

    def drop(self, rows: Collection[int]) -> None:
        """End samples."""
        self.running = [row for row in self.running if row not in rows]


def _seed(*parts: object) -> int:
    """A seed for each request, the same in every run; 31 bits, which all servers take."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) >> 1
