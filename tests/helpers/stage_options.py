"""The options models of all stages, by which tests go through them."""

import importlib
import pkgutil

import gcrm.config
from gcrm.config.base import Settings

TRAIN = ["--pretrain", "base", "--dataset", "pairs.jsonl", "--save_path", "out"]


def all_models():
    """Settings and options of all stages, by name."""
    found = {}
    for info in pkgutil.iter_modules(gcrm.config.__path__):
        module = importlib.import_module(f"gcrm.config.{info.name}")
        for name, model in vars(module).items():
            if isinstance(model, type) and issubclass(model, Settings) and model is not Settings:
                found[name] = model
    return found


MODELS = all_models()
OPTIONS = {
    name: model
    for name, model in MODELS.items()
    if name == f"{model.__module__.rpartition('.')[2].capitalize()}Options"  # of a stage
}
