"""A tiny reward model with a goal state, and a server of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gcrm import RewardModel
from helpers.models import make_byte_tokenizer, save_base_model, save_reward_model
from helpers.server import in_thread

GOAL = np.random.default_rng(0).normal(size=(1, 32)).astype(np.float32)


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of any text, since its tokens are bytes and their merges; rewards are of the size of 1."""
    folder = tmp_path_factory.mktemp("serving")
    base = save_base_model(folder / "base", tokenizer=make_byte_tokenizer(), context=512)
    return save_reward_model(folder / "rm", base, scale=10)


@pytest.fixture(scope="session")
def model(reward_model: Path) -> RewardModel:
    return RewardModel.from_pretrained(reward_model, GOAL)


@pytest.fixture(scope="session")
def server(model: RewardModel) -> Iterator[str]:
    with in_thread(model) as address:
        yield address
