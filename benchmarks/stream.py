"""The cost of a token that a stream scores, beside what one would do without it.

    python -m benchmarks.stream

Token by token, the other way is the forward pass itself: the same model with a `DynamicCache` of
transformers, without head, scores and samples that come and go. Chunk by chunk, it is to score all
texts so far anew with each chunk, by the passes that `RewardModel.score` makes.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import DynamicCache, LlamaForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.setting import (
    SMOLLM2,
    TINY,
    VOCABULARY,
    Shape,
    alternate,
    make_model,
    print_machine,
)
from gcrm import RewardModel
from gcrm.modeling.onednn import use_onednn
from gcrm.modeling.tokenization import Encoded

PROMPT, CHUNK = 100, 16
"""tokens of the prompt, and of a chunk"""


def main() -> None:
    """Measure and print."""
    print_machine()
    print(f"{'':52}{'tokens/s':>10}{'ratio':>8}{'error':>10}")
    measure("4 layers of 128", TINY, samples=8, tokens=128)
    measure("SmolLM2's shape", SMOLLM2, samples=8, tokens=32)


def measure(name: str, shape: Shape, samples: int, tokens: int) -> None:
    """Time all ways on the same tokens, each behind a prompt that is read before."""
    reward_model = make_reward_model(shape)
    numbers = np.random.default_rng(0).integers(1, VOCABULARY, (samples, tokens))
    prompt = reward_model.encoder.prompt_ids("w1 " * PROMPT)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "token by token: bare passes with a cache": bare(reward_model, prompt, numbers),
        "token by token: stream": stream(reward_model, numbers, 1),
        f"{CHUNK} tokens a push: all texts anew": anew(reward_model, prompt, numbers),
        f"{CHUNK} tokens a push: stream": stream(reward_model, numbers, CHUNK),
        f"{CHUNK} tokens a push, samples of different lengths": stream(
            reward_model, numbers, CHUNK, ragged=True
        ),
    }
    rewards = {way: work() for way, work in ways.items()}
    seconds = alternate(ways)
    print(f"{name}, {samples} samples of {tokens} tokens")
    first = ""
    for way, each in seconds.items():
        if "stream" not in way and "different" not in way:
            first = way
        error = np.abs(rewards[way] - rewards[first]).max()
        speed = samples * tokens / each
        print(f"  {way:50}{speed:10.0f}{seconds[first] / each:8.2f}{error:10.1e}")


def make_reward_model(shape: Shape) -> RewardModel:
    """A reward model of words with this shape, random weights and a goal state."""
    words = {f"w{number}": number for number in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="w1")
    tokenizer.chat_template = "{{ messages[0].content }}"
    model: LlamaForSequenceClassification = make_model(shape)
    use_onednn(model)
    goal = F.normalize(torch.ones(shape.width), dim=0)
    return RewardModel(model, tokenizer, goal, 2048)


def bare(
    reward_model: RewardModel, prompt: Sequence[int], numbers: np.ndarray
) -> Callable[[], np.ndarray]:
    """Forward passes alone; the rewards of the last tokens."""
    model = reward_model.model

    @torch.inference_mode()
    def work() -> np.ndarray:
        cache = DynamicCache(config=model.config)
        model.base_model(input_ids=torch.tensor([prompt]), past_key_values=cache)
        cache.batch_repeat_interleave(len(numbers))
        for step in range(numbers.shape[1]):
            ids = torch.from_numpy(numbers[:, step : step + 1])
            found = model.base_model(input_ids=ids, past_key_values=cache)
        return np.asarray(model.get_submodule("score")(found.last_hidden_state)[:, -1, 0])

    return work


def stream(
    reward_model: RewardModel, numbers: np.ndarray, each: int, ragged: bool = False
) -> Callable[[], np.ndarray]:
    """The stream; with `ragged`, the first push has another length for each sample."""

    def work() -> np.ndarray:
        samples = reward_model.stream("w1 " * PROMPT)
        handles = samples.add(len(numbers))
        ends = [each - (row % each if ragged else 0) for row in range(len(numbers))]
        begins = [0] * len(numbers)
        while begins[-1] < numbers.shape[1]:
            pushed = {
                handle: numbers[row, begins[row] : ends[row]] for row, handle in enumerate(handles)
            }
            samples.push(pushed)
            begins, ends = ends, [end + each for end in ends]
        return np.array([samples.scores(handle).rewards[-1] for handle in handles])

    return work


def anew(
    reward_model: RewardModel, prompt: Sequence[int], numbers: np.ndarray
) -> Callable[[], np.ndarray]:
    """All texts so far, scored anew with each chunk."""

    def work() -> np.ndarray:
        for end in range(CHUNK, numbers.shape[1] + 1, CHUNK):
            texts = [Encoded([*prompt, *row[:end].tolist()], len(prompt)) for row in numbers]
            rewards: np.ndarray = reward_model.score_encoded(texts).reward
        return rewards

    return work


if __name__ == "__main__":
    main()
