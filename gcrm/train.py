"""Stage `train`: trains a reward model on preference pairs."""

from gcrm.cli import run_stage
from gcrm.config.train import TrainOptions
from gcrm.utils.gpus import take_gpus
from gcrm.utils.locks import claim


def run(options: TrainOptions) -> None:
    """Train as the options say; see `gcrm.training.run`."""
    from gcrm.training.run import train_reward_model

    with claim(options.save_path):
        train_reward_model(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(TrainOptions, run, before=take_gpus))
