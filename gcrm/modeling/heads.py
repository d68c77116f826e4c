"""Reward heads: the standard linear one, and the MLPs of an ablation, which are not standard.

All are the module `score` of the model. They compute in fp32, since in bf16 rewards of similar
completions would tie.
"""

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from gcrm.utils.errors import UserError

HEAD = "score"
"""name of the head's module, and the beginning of its weights' names"""
MLP_KEY = "value_head_strategy"
"""key of config.json, with the kind of an MLP head; absent for linear heads"""
MLP_DIVISORS = {"mlp": (2, 2, 1), "mlp_wide": (1, 1, 1)}
"""kinds of MLP heads, and what the hidden size h is divided by for the widths of their hidden
layers: `mlp` has those of the authors' code (h/2, h/2, h), `mlp_wide` those of the paper (h, h, h;
appendix A.1)"""


class Fp32Linear(nn.Linear):
    """A linear layer that computes in fp32, whatever the type of its weights."""

    def forward(self, hidden: Tensor) -> Tensor:
        """As `nn.Linear`, without autocast."""
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.weight.float(), bias)


class MLPHead(Fp32Linear):
    """Three hidden layers with ReLU and a linear output without bias, of a kind in MLP_DIVISORS.

    The first layer is the module itself, which gives the checkpoint's `score.weight` a shape that
    no linear head has: `AutoModelForSequenceClassification` refuses it, instead of drawing a new
    head.
    """

    def __init__(self, hidden_size: int, kind: str = "mlp"):
        first, second, third = (hidden_size // divisor for divisor in MLP_DIVISORS[kind])
        super().__init__(hidden_size, first)
        self.rest = nn.Sequential(
            nn.ReLU(),
            Fp32Linear(first, second),
            nn.ReLU(),
            Fp32Linear(second, third),
            nn.ReLU(),
            Fp32Linear(third, 1, bias=False),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (…, hidden_size), of any type, to rewards (…, 1), fp32."""
        rewards: Tensor = self.rest(super().forward(hidden))
        return rewards

    @property
    def layers(self) -> list[nn.Linear]:
        """The linear layers, first to last."""
        return [self, *(layer for layer in self.rest if isinstance(layer, nn.Linear))]


def compute_in_fp32(head: nn.Linear) -> None:
    """Let a standard head compute in fp32.

    Its method is replaced, not the module: the checkpoint stays standard, and ZeRO-3 still gathers
    the weight.
    """
    if not isinstance(head, Fp32Linear):
        object.__setattr__(head, "forward", MethodType(Fp32Linear.forward, head))


def first_values(head: nn.Linear, seed: int, official: bool) -> list[Tensor]:
    """First values of the head's parameters, in their order; a function of the seed.

    The standard deviation is 1 / (inputs + 1), as the authors', for a linear head and the last
    layer of an MLP. For the hidden layers of an MLP it is He's sqrt(2 / inputs), which keeps the
    scale of their inputs; with `official` it is the authors' 1 / (inputs + 1), by which the rewards
    of wide models start near 0. Biases start at 0.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = head.layers if isinstance(head, MLPHead) else [head]
    values = []
    for layer in layers:
        inputs = layer.in_features
        he = layer is not layers[-1] and not official
        scale = (2 / inputs) ** 0.5 if he else 1 / (inputs + 1)
        values.append(torch.randn(layer.out_features, inputs, generator=generator) * scale)
        if layer.bias is not None:
            values.append(torch.zeros(layer.out_features))
    return values


def class_with_mlp_head(config: PretrainedConfig, source: str) -> type[PreTrainedModel]:
    """The transformers class for `config`, with the MLP that `config` names as its head.

    Raises:
        UserError: there is no such kind of MLP, transformers has no class of its own for this
            architecture, or its head is not `score`.
    """
    kind = getattr(config, MLP_KEY)
    if kind not in MLP_DIVISORS:
        raise UserError(
            f"{source}: {MLP_KEY} in config.json is {kind!r}; expected {' or '.join(MLP_DIVISORS)}"
        )
    parent: Any = AutoModelForSequenceClassification._model_mapping.get(type(config), None)
    if parent is None:
        raise UserError(
            f"{source}: value_head_strategy {kind} is for architectures of transformers' own, and "
            f"{type(config).__name__} is none with a sequence classifier"
        )

    class WithMLPHead(parent):
        def __init__(self, config: PretrainedConfig):
            super().__init__(config)
            head = getattr(self, HEAD, None)
            if not isinstance(head, nn.Linear):
                raise UserError(f"{parent.__name__} has no linear head `score` to replace")
            self.score = MLPHead(head.in_features, kind)
            self.post_init()

    # config.json has the name of the class.
    WithMLPHead.__name__ = WithMLPHead.__qualname__ = f"{parent.__name__}WithMLPHead"
    return WithMLPHead
