"""The code of docs/streaming.md runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm import RewardModel
from helpers.completion_server import completion_server
from helpers.models import save_base_model, save_reward_model

PAGE = Path(__file__).parents[2] / "docs" / "streaming.md"
SNIPPETS = re.findall(r"^```python\n(.+?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = Path("results/tiny")
    base = save_base_model(results / "base_model")
    save_reward_model(results / "models/contrastive/seed0", base)
    (results / "goal_states/contrastive/seed0").mkdir(parents=True)
    np.save(results / "goal_states/contrastive/seed0/goal_state.npy", np.ones(32))
    names: dict[str, Any] = {}
    assert len(SNIPPETS) == 4
    with completion_server(base) as served:
        for snippet in SNIPPETS:
            exec(snippet.replace("http://127.0.0.1:8000", served.url), names)
    rm: RewardModel = names["rm"]
    whole = rm.score(names["question"], ["3 + 4 = 7 . answer 7", "3 - 4 = 1 . answer 1"])
    assert names["reward"] == pytest.approx(whole.reward[0], abs=1e-5)
    third = names["stream"].scores(names["third"]).rewards
    np.testing.assert_allclose(third, whole.partial_rewards[1], atol=1e-5)
    assert names["rewards"].shape == (8,) and np.isfinite(names["rewards"]).sum() >= 2
    assert isinstance(names["best"], str)
    assert len(names["samples"]) == 8 and len(names["kept"]) >= 2
