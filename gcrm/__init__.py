"""Goal-conditioned reward models (Nath et al., NeurIPS 2024): train, evaluate, measure.

>>> from gcrm import RewardModel
>>> rm = RewardModel.from_pretrained("results/tiny/models/contrastive/seed0")  # doctest: +SKIP
>>> rm.score("2 + 3 ?", ["2 + 3 = 5 . answer 5"]).reward  # doctest: +SKIP
"""

from typing import Any

__all__ = ["RewardModel", "Scores"]


def __getattr__(name: str) -> Any:
    """Import the Python API on first use: it needs torch, which most stages do without."""
    if name in __all__:
        from gcrm.modeling import reward_model

        return getattr(reward_model, name)
    raise AttributeError(f"module 'gcrm' has no attribute {name!r}")
