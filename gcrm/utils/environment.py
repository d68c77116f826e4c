"""Environment variables of libraries: those that decide about bits, and those that do harm."""

import os
import platform
from contextlib import suppress
from pathlib import Path

from gcrm.utils.logging import say

SAME_BLAS = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"}
"""lets numpy multiply matrices in the same order on every CPU that has AVX2; to be set before numpy
is loaded, so by the rules"""
SAME_KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels: softmax, attention
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # linear layers
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",  # and not what the user may have set
    "MKL_CBWR": "COMPATIBLE",  # the rest: MKL takes other code on AMD, even for square roots
}
"""lets torch compute in the same order on every CPU that has AVX2; docs/reproducibility.md says
what was measured"""


def use_same_kernels(stage: str) -> None:
    """Let torch, when it is loaded, compute with the same instructions on every x86-64 CPU.

    It computes on the CPU, unless the environment names GPUs. A CPU without AVX2 is reported, and
    computes as usual.
    """
    if not has_avx2():
        say(f"{stage}: no x86-64 CPU with AVX2: results differ from those of CPUs that are")
        return
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.update(SAME_KERNELS)


def has_avx2() -> bool:
    """Whether this is Linux on an x86-64 CPU with AVX2."""
    if platform.machine() in ("x86_64", "AMD64"):
        with suppress(OSError):  # no /proc: not Linux
            return " avx2 " in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return False


FEWER_THREADS = ("OMP_DYNAMIC", "OMP_THREAD_LIMIT")
"""let OpenMP start fewer threads than asked for; oneDNN then leaves out parts of a product"""


def drop_harmful_variables() -> None:
    """Unset, and name, variables that spoil results or end a stage, before torch is loaded.

    They are what `accelerate` would do beside the options, `FEWER_THREADS`, and unusable cache
    folders. With another precision or compiler, a training ends without a model that can be saved;
    torch does not even load without its cache folder.
    """
    for name in sorted(os.environ):
        if name.startswith("ACCELERATE_"):
            _drop(name, "the options decide")
        elif name in FEWER_THREADS:
            _drop(name, "with fewer threads than it asked for, oneDNN multiplies wrongly")
        elif name == "TORCHINDUCTOR_CACHE_DIR":
            try:
                os.makedirs(os.environ[name], exist_ok=True)
            except OSError as error:
                _drop(name, f"no folder can be made there ({error.strerror})")


def _drop(name: str, reason: str) -> None:
    say(f"{name}={os.environ.pop(name)} of the environment is not used: {reason}")
