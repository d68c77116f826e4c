"""The goal state: the mean state in which good completions end (section 3 of the paper)."""

import numpy as np
import torch

from gcrm.errors import UserError
from gcrm.files import atomic_path
from gcrm.preferences import read_preferences
from gcrm.progress import Progress, say
from gcrm.provenance import write_provenance
from gcrm.reward_model import RewardModel
from gcrm.settings.represent import RepresentOptions


def extract_goal_state(options: RepresentOptions) -> None:
    """Write the mean hidden state at EOS of the chosen completions: float32, (1, hidden_size).

    Raises:
        UserError: data or model cannot be read, or no chosen completion fits into max_len.
    """
    pairs = read_preferences(options.dataset_path, max_pairs=options.max_pairs)
    reward_model = RewardModel.from_pretrained(
        options.reward_model_path,
        max_len=options.max_len,
        trust_remote_code=options.trust_remote_code,
    )
    all_encoded = reward_model.encoder.encode_fitting((pair.prompt, pair.chosen) for pair in pairs)
    encoded = [one for one in all_encoded if one is not None]
    max_len = reward_model.encoder.max_len
    if not encoded:
        raise UserError(
            f"{', '.join(options.dataset_path)}: no completion fits into {max_len} tokens"
        )
    too_long = len(pairs) - len(encoded)
    if too_long:
        say(f"represent: {too_long} of {len(pairs)} pairs left out: longer than {max_len} tokens")

    progress = Progress(f"represent {options.save_dir.parent.name}", len(encoded), "completion")
    # fp64, so that the mean of many states does not depend on how they were batched.
    total = torch.zeros(
        reward_model.model.config.get_text_config().hidden_size, dtype=torch.float64
    )
    for indices, hidden, _ in reward_model.forward(encoded, options.tokens_per_batch):
        last = torch.tensor([len(encoded[i].input_ids) - 1 for i in indices])
        total += hidden[torch.arange(len(indices)), last].double().sum(dim=0).cpu()
        progress.advance(len(indices))
    goal_state = (total / len(encoded)).float().numpy()[None, :]

    with atomic_path(options.save_dir / "goal_state.npy") as path:
        np.save(path, goal_state)
    write_provenance(
        options.save_dir / "provenance.json",
        options,
        [options.reward_model_path, *options.dataset_path],
        completions=len(encoded),
        completions_too_long=too_long,
    )
