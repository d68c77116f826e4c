"""The README beside each trained reward model."""

from typing import Any

from gcrm.config.train import TrainOptions

STANDARD_USE = """```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("<this folder>")
tokenizer = AutoTokenizer.from_pretrained("<this folder>")
```

or, with partial rewards and Q-values of every token:
"""
MLP_USE = """**This is no standard checkpoint.** Its reward head is an MLP of four layers
(`score` in `model.safetensors`), which `AutoModelForSequenceClassification` refuses. gcrm loads it:
"""
PARITY_NOTE = """
It was trained with `parity: official`: the arithmetic and the encodings of the code that the
paper's authors published, prompts included (`gcrm/modeling/official.py`). gcrm follows them by
itself; with other tools, write prompts as that module does, and append no EOS to what you score.
"""


def model_card(facts: dict[str, Any], options: TrainOptions) -> str:
    """A model card in the hub's format: what it is, how it was trained, how to use it."""
    objective = "\n".join(f"| {key} | {value} |" for key, value in facts["objective"].items())
    use = MLP_USE if options.value_head_strategy == "mlp" else STANDARD_USE
    head = "an MLP" if options.value_head_strategy == "mlp" else "a scalar"
    parity = PARITY_NOTE if options.parity == "official" else ""
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, goal-conditioned, gcrm]
---
# Reward model: {options.reward_model_strategy}

A reward model with {head} head on `{facts["base_model"]}`, trained by gcrm on
{facts["pairs"]} preference pairs ({", ".join(options.dataset)}). The reward of a completion is the
value at its last token{", EOS" if options.parity == "none" else ""}.
{parity}
## Use

{use}
```python
from gcrm import RewardModel

rm = RewardModel.from_pretrained("<this folder>", goal_state="<goal_state.npy>")
scores = rm.score(question, solutions)  # .reward, .partial_rewards, .q_values
```

## Training

| setting | value |
|---|---|
{objective}
| pairs | {facts["pairs"]} ({facts["pairs_too_long"]} longer ones dropped) |
| margins of the data | {"subtracted" if facts["margins"] else "none"} |
| max_len | {facts["max_len"]} |
| train_batch_size | {options.train_batch_size} |
| max_epochs | {options.max_epochs} |
| learning_rate | {options.learning_rate} |
| seed | {facts["seed"]} |

Rewards of {facts["reward_sample"]} training completions have mean {facts["reward_mean"]:.3f} and
standard deviation {facts["reward_std"]:.3f}. They compare completions of one prompt and are no
probabilities.
`provenance.json` has the whole command, the hashes of its inputs and the versions;
`training_log.jsonl` has the curve.

## Limits

The model knows what its pairs show, no more: out of their distribution its rewards may be no
better than the length of a completion. Measure it on your own data with `python -m gcrm.evaluate`
and `python -m gcrm.metrics` before relying on it.

## Citation

Nath et al., "Learning Goal-Conditioned Representations for Language Reward Models", NeurIPS 2024,
arXiv:2407.13887.
"""
