"""Which weights are trained: all of them, the last layers, or LoRA matrices beside frozen weights.

Frozen weights cost no backward pass and no optimiser state. LoRA (Hu et al. 2021, arXiv 2106.09685)
trains small matrices within the model, which keeps its class; they are merged into the weights when
the model is saved, so the checkpoint is a standard one. The reward head is always trained.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gcrm.config.train import TrainSettings
from gcrm.modeling.heads import HEAD
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say


def choose_trained_weights(model: PreTrainedModel, settings: TrainSettings, seed: int) -> None:
    """Freeze what is not trained, and recompute activations if asked for.

    Raises:
        UserError: the model has fewer layers than are to be trained, or it cannot be trained so.
    """
    if settings.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise UserError(f"gradient_checkpointing: {type(model).__name__} has none; remove it")
    if settings.gradient_checkpointing:
        # Not through the Trainer, which would make frozen embeddings require gradients.
        model.activation_checkpointing_enable()
    if settings.train_layers is not None:
        train_last_layers(model, settings.train_layers)
    elif settings.lora_rank:
        add_lora(model, settings.lora_rank, settings.lora_alpha, seed)
    else:
        return
    # Gradient checkpointing asks for gradients at the embeddings, which only its old kind needs.
    model.disable_input_require_grads()
    numbers = [
        (getattr(weight, "ds_numel", weight.numel()), weight.requires_grad)  # ds_: under ZeRO-3
        for weight in model.parameters()
    ]
    trained = sum(number for number, learns in numbers if learns)
    say(f"train: {trained:,} of {sum(n for n, _ in numbers):,} parameters are trained")


def train_last_layers(model: PreTrainedModel, count: int) -> None:
    """Freeze all but the last `count` transformer layers, the final norm and the reward head.

    No gradient flows into what is frozen, the embeddings included: the graph begins at the first
    trained layer.

    Raises:
        UserError: the model has fewer layers.
    """
    parent, name, layers = _transformer_layers(model)
    if count > len(layers):
        raise UserError(
            f"train_layers is {count}, but {type(model).__name__} here has {len(layers)} layers"
        )
    model.requires_grad_(False)
    norms = [
        child
        for other, child in parent.named_children()
        if other != name and "norm" in type(child).__name__.lower() and "emb" not in other
    ]
    for module in (*list(layers)[len(layers) - count :], *norms, model.get_submodule(HEAD)):
        module.requires_grad_(True)


def _transformer_layers(model: PreTrainedModel) -> tuple[nn.Module, str, nn.ModuleList]:
    """The list of transformer layers, the module that holds it, and its name there."""
    number = model.config.get_text_config().num_hidden_layers
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == number:
                return parent, name, child
    raise UserError(f"train_layers: {type(model).__name__} has no list of {number} layers")


def add_lora(model: PreTrainedModel, rank: int, alpha: int, seed: int) -> None:
    """Freeze the model and put matrices of this rank beside all its linear layers but the head.

    Args:
        alpha: the matrices' product is multiplied by alpha / rank.
        seed: decides their first values.

    Raises:
        UserError: the model has no linear layers.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.partition(".")[0] != HEAD
        and not type(module).__name__.endswith("Router")  # PhiMoE's is a linear layer by class only
    ]
    if not layers:
        raise UserError(
            f"lora_rank: {type(model).__name__} has no linear layers to put matrices beside (GPT-2 "
            "has Conv1D); remove it, or give --train_layers"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers)
        inject_adapter_in_model(config, model)  # freezes all other weights
    model.get_submodule(HEAD).requires_grad_(True)


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
