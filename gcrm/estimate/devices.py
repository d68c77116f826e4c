"""What devices compute in a second, and which ones are here; asked without torch."""

import os
from dataclasses import dataclass

from gcrm.config.cost import CostSettings
from gcrm.utils.gpus import visible_gpus

PEAK = {
    "cpu": 85e9,
    "rtx4090": 165e12,
    "a6000": 155e12,
    "l40s": 362e12,
    "a100": 312e12,
    "h100": 989e12,
}
"""operations a second: of GPUs in dense bf16, by their data sheets; of one CPU core in fp32 matrix
products, by measurement (170e9 on two cores)"""
USED = {"cpu": 0.45}
"""share of the peak that training and scoring reach, measured with SmolLM2-135M on a CPU"""
USED_OF_GPU = 0.4
"""the same of a GPU; an assumption: 0.3 to 0.5 is common"""


def detect(cores: int | None = None) -> tuple[str, int]:
    """Kind and number of the devices here: GPUs that PEAK knows, or their name; or CPU cores."""
    if gpus := visible_gpus():
        plain = gpus[0].name.lower().replace(" ", "")
        return next((kind for kind in PEAK if kind in plain), gpus[0].name), len(gpus)
    here = os.cpu_count() or 1
    return "cpu", min(cores or here, here)


@dataclass(frozen=True)
class Devices:
    """What computes.

    Attributes:
        words: kind, number and speed.
        per_second: operations a second of all together, as really reached; None: not known.
    """

    words: str
    per_second: float | None


def devices_of(assumed: CostSettings, cores: int | None = None) -> Devices:
    """The devices that the config names, or those of this machine.

    Args:
        cores: CPU cores that the run may use.
    """
    kind, number = (assumed.device, 1) if assumed.device else detect(cores)
    number = assumed.devices or number
    name = f"{number} {'CPU cores' if kind == 'cpu' else kind}"
    if assumed.flops_per_second is not None:
        each = assumed.flops_per_second
        return Devices(f"{name} ({each:.3g} FLOP/s each)", number * each)
    if kind not in PEAK:
        return Devices(f"{name} (of unknown speed: give flops_per_second)", None)
    share = USED.get(kind, USED_OF_GPU)
    words = f"{name} ({PEAK[kind]:.3g} FLOP/s each, {share:.0%} of it used)"
    return Devices(words, number * PEAK[kind] * share)
