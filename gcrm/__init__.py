"""Goal-conditioned reward models (Nath et al., NeurIPS 2024): train, evaluate, measure.

>>> from gcrm import RewardModel, compute_metrics, read_scores
>>> rm = RewardModel.from_pretrained("results/tiny/models/contrastive/seed0")  # doctest: +SKIP
>>> rm.score("2 + 3 ?", ["2 + 3 = 5 . answer 5"]).reward  # doctest: +SKIP
>>> compute_metrics(read_scores("scores.parquet"))  # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

_API = {
    "RewardModel": "gcrm.modeling.reward_model.RewardModel",
    "RewardTrainer": "gcrm.training.trainer.RewardTrainer",
    "Scores": "gcrm.modeling.reward_model.Scores",
    "compare_models": "gcrm.stats.compute.compare_models",
    "compute_metrics": "gcrm.stats.compute.compute_metrics",
    "contrastive_loss": "gcrm.training.contrastive.contrastive_loss",
    "goal_state": "gcrm.scoring.goal_state.goal_state",
    "load_preferences": "gcrm.data.preferences.load_preferences",
    "read_scores": "gcrm.data.scores.read_scores",
}
"""public names and what they are"""

__all__ = list(_API)


def __getattr__(name: str) -> Any:
    """Import the Python API on first use: parts need torch, which most stages do without."""
    if name not in _API:
        raise AttributeError(f"module 'gcrm' has no attribute {name!r}")
    module, _, attribute = _API[name].rpartition(".")
    return getattr(import_module(module), attribute)
