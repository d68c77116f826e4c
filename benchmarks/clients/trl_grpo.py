"""TRL's GRPO trains a policy with a checkpoint as its reward function: does it get gcrm's rewards?

    pip install -e .[bench]
    python -m benchmarks.clients.trl_grpo

Every completion that the trainer had scored is scored again, alone; and the mean that TRL logs must
be theirs.
"""

import tempfile
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from benchmarks.clients.setting import TOLERANCE, arguments, checkpoint, compare, make_pairs
from gcrm import RewardModel
from gcrm.rl.rewards import reward_function

STEPS = 2


class Recorded:
    """A reward function that keeps what it was asked, and what it answered."""

    __name__ = "gcrm"

    def __init__(self, function: Any):
        self.function = function
        self.asked: list[tuple[str, str]] = []
        self.answered: list[float] = []

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        """As the function."""
        rewards: list[float] = self.function(prompts, completions, **columns)
        texts = [turns[0]["content"] for turns in completions]
        self.asked += zip([turns[-1]["content"] for turns in prompts], texts, strict=True)
        self.answered += rewards
        return rewards


def main() -> int:
    """Train for a few steps, and compare; the exit status."""
    given = arguments(__doc__, policy="")
    model = given.reward_model_path or checkpoint(given.work_dir)
    policy = given.policy or str(given.work_dir / "base_model")
    recorded = Recorded(reward_function(model, bf16=False))
    prompts = [[{"role": "user", "content": row["prompt"]}] for row in make_pairs(8)]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy),
        processing_class=AutoTokenizer.from_pretrained(policy),
        reward_funcs=recorded,
        args=GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            max_steps=STEPS,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=24,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            bf16=False,
            use_cpu=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
    )
    trainer.train()
    reward_model = RewardModel.from_pretrained(model, bf16=False)
    alone = [float(reward_model.score(one, [text]).reward[0]) for one, text in recorded.asked]
    status = compare("TRL's GRPO", alone, recorded.answered)
    logged = [row["rewards/gcrm/mean"] for row in trainer.state.log_history if "reward" in row]
    size = len(alone) // STEPS
    means = [sum(alone[k * size : (k + 1) * size]) / size for k in range(STEPS)]
    print(f"mean of each step: {means} by gcrm, {logged} logged by TRL")
    worst = max(abs(one - other) for one, other in zip(means, logged, strict=True))
    return status or int(not worst <= TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
