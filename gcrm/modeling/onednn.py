"""fp32 matrix products of linear layers by oneDNN, where they run on a CPU.

torch leaves these products to MKL, which uses AVX-512 on Intel's processors only: on a Zen 5 oneDNN
does them 2.2 times as fast, in the same precision. Elsewhere MKL is faster, since most matrices
here are small: it takes 15 % less time on an Intel, and 10 to 30 % less on a Zen 3, which has AVX2
alone.
"""

import os
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcrm.utils.environment import FEWER_THREADS


def use_onednn(model: nn.Module) -> None:
    """Let the linear layers of a model compute by oneDNN where they can.

    Their methods are replaced, not the modules, so that names of weights, and what ZeRO and LoRA do
    with the modules, stay as they are.
    """
    available = torch.backends.mkldnn.is_available() and not set(FEWER_THREADS) & set(os.environ)
    if not available or _mkl_is_faster():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            object.__setattr__(module, "forward", MethodType(_forward, module))


def _mkl_is_faster() -> bool:
    """Whether no AVX-512 is left to oneDNN, and nothing tells oneDNN which instructions to use.

    A run that tells it wants the same products on all processors; see `gcrm.utils.environment`.
    """
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return True
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # no Linux
        return False


def _forward(layer: nn.Linear, inputs: Tensor) -> Tensor:
    weight = layer.weight
    on_cpu = inputs.device.type == weight.device.type == "cpu" and inputs.numel() > 0
    if not (on_cpu and inputs.dtype == weight.dtype == torch.float32):
        return F.linear(inputs, weight, layer.bias)
    multiply: Any = _Linear.apply  # which torch does not type
    found: Tensor = multiply(inputs, weight)
    return found if layer.bias is None else found + layer.bias


def product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right.T, of (…, k) and (n, k), by oneDNN."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return found


class _Linear(torch.autograd.Function):
    """inputs @ weight.T, of (…, k) and (n, k), fp32."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return product(inputs, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        of_inputs = of_weight = None
        if ctx.needs_input_grad[0]:
            of_inputs = product(gradients[0], weight.t())
        if ctx.needs_input_grad[1]:
            of_output = gradients[0].reshape(-1, weight.shape[0])
            of_weight = product(of_output.t(), inputs.reshape(-1, weight.shape[1]).t())
        return of_inputs, of_weight
