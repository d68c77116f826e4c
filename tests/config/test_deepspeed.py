"""Which of DeepSpeed's configurations a training takes; test_processes.py trains with them."""

import json
from pathlib import Path

import pytest

import gcrm
from gcrm.config.deepspeed import read_zero_config, zero_file
from gcrm.config.train import TrainSettings
from gcrm.utils.errors import UserError

FOLDER = Path(gcrm.__file__).parent / "config"  # is installed with the package


def test_each_stage_has_its_file():
    assert zero_file(TrainSettings()) is None
    for stage in (1, 2, 3):
        path = zero_file(TrainSettings(zero_stage=stage))
        assert path == FOLDER / f"zero{stage}.json"
        config = read_zero_config(path)
        assert config["zero_optimization"]["stage"] == stage
        # The Trainer fills in what it knows, or the two could differ.
        assert {config[key] for key in config if "batch" in key or "gradient" in key} == {"auto"}
    assert len(list(FOLDER.glob("*.json"))) == 3


def test_a_configuration_of_ones_own_takes_its_place(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    assert zero_file(TrainSettings(deepspeed_config=path)) == path
    with pytest.raises(ValueError, match="remove zero_stage"):
        TrainSettings(deepspeed_config=path, zero_stage=2)
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        zero_file(TrainSettings(deepspeed_config=tmp_path / "none.json"))
    for text, message in [("{", "not readable as JSON"), ("[]", "expected a JSON object")]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_zero_config(path)
