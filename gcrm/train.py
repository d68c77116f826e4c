"""Train a reward model on preference pairs: `python -m gcrm.train`."""

from gcrm import gpus
from gcrm.claims import claim
from gcrm.cli import run_stage
from gcrm.settings.train import TrainOptions


def run(options: TrainOptions) -> None:
    """Train as the options say; see `gcrm.training`."""
    from gcrm.training import train_reward_model

    with claim(options.save_path):
        train_reward_model(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(TrainOptions, run, before=gpus.use))
