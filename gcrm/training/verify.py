"""Check of a saved reward model: it must give the same rewards as the model in memory."""

from pathlib import Path

import numpy as np
import torch
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from gcrm.modeling.loading import load_reward_model
from gcrm.modeling.passes import pad
from gcrm.modeling.tokenization import Encoded
from gcrm.training.collation import EncodedPair, collate
from gcrm.training.trainer import RewardTrainer
from gcrm.utils.errors import UserError

PAIRS_TO_CHECK = 8
"""training pairs for the check; the mean of their rewards is stored with the model"""


def _sides(encoded: list[EncodedPair]) -> list[Encoded]:
    """Both sides of the first pairs."""
    return [side for pair in encoded[:PAIRS_TO_CHECK] for side in (pair.chosen, pair.rejected)]


def rewards_of_first(trainer: RewardTrainer, encoded: list[EncodedPair]) -> np.ndarray:
    """Rewards of both sides of the first pairs from the model in memory, (2 * pairs,).

    Raises:
        UserError: a reward is NaN or infinite.
    """
    trainer.model_wrapped.eval()
    rewards = []
    for side in _sides(encoded):  # one at a time, without padding
        batch = collate([EncodedPair(side, side)], pad_id=0)
        inputs = {key: value.to(trainer.args.device) for key, value in batch.items()}
        with torch.no_grad():
            (of_tokens, _), _, (span, _) = trainer.forward(trainer.model_wrapped, inputs)
        rewards.append(span.last(of_tokens).cpu().numpy())
    found = np.concatenate(rewards)
    if not np.isfinite(found).all():
        raise UserError(
            "training ended with rewards that are not finite: lower learning_rate, or check the "
            "base model's weights"
        )
    return found


def check_saved(
    folder: Path, encoded: list[EncodedPair], rewards: np.ndarray, attention: str, bf16: bool
) -> None:
    """Load the checkpoint as a user would, and compare its rewards with those in memory.

    Args:
        attention: the kind that the trained model has.
        bf16: the rewards were computed in bfloat16; these are not.
    """
    unset_hf_deepspeed_config()  # otherwise ZeRO-3 would split the loaded model, too
    attention = "eager" if attention == "eager" else "sdpa"  # flash attention has no fp32
    model, tokenizer = load_reward_model(str(folder), torch.float32, attention)
    with torch.no_grad():
        again = np.concatenate(
            [model(**pad([side], tokenizer.pad_token_id)).logits[:, 0] for side in _sides(encoded)]
        )
    tolerance = 5e-2 if bf16 else 1e-4
    worst = float(np.abs(again - rewards).max())
    if not worst <= tolerance * max(1.0, float(np.abs(rewards).max())):
        raise RuntimeError(f"the saved model's rewards differ from the trained one's by {worst}")
