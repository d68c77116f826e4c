"""A tiny base model and a reward model with a fresh head, for all tests of models."""

from pathlib import Path

import pytest

from helpers.models import save_base_model, save_reward_model


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def reward_model(base: Path) -> Path:
    return save_reward_model(base.parent / "reward_model", base)
