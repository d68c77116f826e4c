"""Made estimates of the stage `generate`."""

from collections.abc import Sequence
from typing import Any

METHODS = ("q_threshold", "reward_worst")


def generated(
    variant: str, seed: int, benchmark: str = "gsm8k", equal_cost: Sequence[float] = (1.8, 0.7)
) -> list[dict[str, Any]]:
    """Rows of estimates of two methods by two votes, in a world of 4 samples a problem.

    Args:
        equal_cost: of each method.
    """
    where = {"variant": variant, "seed": seed, "benchmark": benchmark, "split": "generate", "n": 20}
    rows: list[dict[str, Any]] = []

    def add(metric: str, value: float | None, at: float | None = None, **more: Any) -> None:
        ends = {"low": value - 0.1, "high": value + 0.1} if value is not None else {}
        rows.append({**where, "metric": metric, "value": value, "at": at, **ends, **more})

    for vote in ("majority", "best"):
        for k in range(1, 5):
            add(f"{vote}.plain.accuracy", 0.5 + 0.05 * k, k)
            add(f"{vote}.plain.cost", 1e9 * k, k)
        for method, cost in zip(METHODS, equal_cost, strict=True):
            name = f"{vote}.{method}"
            add(f"{name}.accuracy", 0.66)
            add(f"{name}.change", -0.04, p=0.25)
            add(f"{name}.cost", 5e9, low=4.5e9, high=5.5e9)
            add(f"{name}.relative_cost", 1.25)
            add(f"{name}.equal_samples", 3.2)
            add(f"{name}.equal_cost", cost)
            if method == "q_threshold":
                add(f"{name}.break_even", None, low=2.5, reason="it would not pay at any ratio")
            else:
                add(f"{name}.break_even", 0.4, low=0.0)
            # The third setting costs more than the second, which is milder.
            curve = [(0.7, 6e9), (0.6, 4e9), (0.5, 5e9), (0.4, 2e9)]
            for at, (accuracy, spent) in enumerate(curve):
                add(f"{name}.curve.accuracy", accuracy, at)
                add(f"{name}.curve.cost", spent, at)
    return rows
