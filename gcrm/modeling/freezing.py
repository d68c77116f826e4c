"""Training the last layers only: what is frozen costs no backward pass and no optimiser state."""

from torch import nn
from transformers import PreTrainedModel

from gcrm.utils.errors import UserError


def train_last_layers(model: PreTrainedModel, count: int) -> None:
    """Freeze all but the last `count` transformer layers, the final norm and the reward head.

    No gradient flows into what is frozen, the embeddings included, also under gradient
    checkpointing: the graph begins at the first trained layer.

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
    for module in (*list(layers)[len(layers) - count :], *norms, model.get_submodule("score")):
        module.requires_grad_(True)
    # Gradient checkpointing asks for gradients at the embeddings, which only its old kind needs.
    model.disable_input_require_grads()


def _transformer_layers(model: PreTrainedModel) -> tuple[nn.Module, str, nn.ModuleList]:
    """The list of transformer layers, the module that holds it, and its name there."""
    number = model.config.get_text_config().num_hidden_layers
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == number:
                return parent, name, child
    raise UserError(f"train_layers: {type(model).__name__} has no list of {number} layers")
