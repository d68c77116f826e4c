"""Stage `policy`: trains a language model against a reward model, or on pairs by DPO."""

import importlib.util
import os
import warnings

from gcrm.cli import run_stage
from gcrm.config.policy import PolicyOptions
from gcrm.utils.errors import UserError
from gcrm.utils.gpus import take_gpus
from gcrm.utils.locks import claim


def run(options: PolicyOptions) -> None:
    """Train as the options say; see `gcrm.rl.run`."""
    if importlib.util.find_spec("trl") is None:
        raise UserError("TRL, which trains policies, is not installed: pip install 'gcrm[rl]'")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # TRL would report each training
    # TRL's configs name the setting by which it was known before transformers 5.
    warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing` is depr", FutureWarning)
    from gcrm.rl.run import train_policy

    with claim(options.save_path):
        train_policy(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(PolicyOptions, run, before=take_gpus))
