"""What all tests share: no network, one thread, and hypothesis without a stopwatch."""

import os

# Before any library reads them; jobs that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: threads cost more than they give

from hypothesis import settings

# A loaded machine is slow, not wrong; in CI every run draws the same examples.
settings.register_profile("gcrm", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("gcrm")
