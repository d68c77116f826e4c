"""LoRA (Hu et al. 2021, arXiv 2106.09685): small matrices are trained beside frozen weights.

They are put into the model itself, which stays the class it was, and merged into the weights when
it is saved: the checkpoint is a standard one, with the reward head, which is trained whole.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

HEAD = "score"


def add_lora(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> None:
    """Freeze the model and put matrices of this rank beside all its linear layers but the head.

    Args:
        alpha: what the matrices add is multiplied by alpha / rank.
        seed: decides their first values.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.partition(".")[0] != HEAD
    ]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers)
        inject_adapter_in_model(config, model)  # freezes all the rest
    model.get_submodule(HEAD).requires_grad_(True)
    # As in `freezing`: gradient checkpointing would ask for gradients at the frozen embeddings.
    model.disable_input_require_grads()


def merged(weights: Mapping[str, Tensor], rank: int, alpha: int) -> dict[str, Tensor]:
    """The weights of a model with LoRA as those of one without: W + alpha / rank * B A."""
    plain = {}
    for name, weight in weights.items():
        layer, found, kind = name.rpartition(".base_layer.")
        if ".lora_" in name:
            continue
        if found and kind == "weight":
            a, b = (weights[f"{layer}.lora_{side}.default.weight"].float() for side in "AB")
            weight = (weight.float() + alpha / rank * (b @ a)).to(weight.dtype)
        plain[f"{layer}.{kind}" if found else name] = weight
    return plain
