"""Reporting to wandb, where asked for; training goes on without it."""

import logging
import os
import sys

from gcrm.progress import say
from gcrm.screening import without_secrets
from gcrm.settings.train import TrainOptions


def start_wandb(options: TrainOptions) -> bool:
    """Start a wandb run on the first process; whether there is one to report to.

    Without a key the run is kept offline (`wandb sync` uploads it later). The key is given to the
    library through the environment only: it is neither logged nor saved, not as a part of the
    command, either, which wandb keeps.
    """
    if options.wandb_project is None and options.use_wandb is None:
        return False
    if os.environ.get("RANK", "0") != "0":
        return False
    if options.use_wandb is not None:
        key = options.use_wandb.get_secret_value()
        os.environ["WANDB_API_KEY"] = key
        sys.argv = [word.replace(key, "***") if key else word for word in sys.argv]
    if not os.environ.get("WANDB_API_KEY") and "WANDB_MODE" not in os.environ:
        say("wandb: no key (--use_wandb or WANDB_API_KEY): the run is kept offline in ./wandb")
        os.environ["WANDB_MODE"] = "offline"
    try:
        import wandb

        wandb.init(
            project=options.wandb_project or "gcrm",
            group=options.wandb_group,
            entity=options.wandb_org,
            name=options.wandb_run_name,
            config=options.model_dump(mode="json"),
        )
        return True
    except Exception as error:  # tracking must never cost a training run
        kind, reason = type(error).__name__, without_secrets(str(error))
    # Behind the block and without the traceback: the library's messages may quote the key.
    logging.getLogger("gcrm").warning("wandb failed: %s: %s", kind, reason)
    say(f"wandb: cannot report ({kind}); training goes on without it")
    return False
