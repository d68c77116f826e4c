"""DeepSpeed's configuration of a training: gcrm/config/zero<stage>.json, or a user's file.

Values "auto" in these files come from the Trainer. ZeRO-3 gathers its weights on saving, since each
process holds only a part of them. torch's AdamW is used as it is: DeepSpeed's own would have to be
compiled on a CPU.
"""

import json
from pathlib import Path
from typing import Any

from gcrm.config.train import TrainSettings
from gcrm.utils.errors import UserError

FOLDER = Path(__file__).parent
"""in the package, so that an installed one has the files, too"""


def zero_file(settings: TrainSettings) -> Path | None:
    """The DeepSpeed configuration of a training; None without DeepSpeed.

    Raises:
        UserError: there is no such file.
    """
    path = settings.deepspeed_config
    if path is None and settings.zero_stage:
        path = FOLDER / f"zero{settings.zero_stage}.json"
    if path is not None and not path.is_file():
        raise UserError(f"{path}: no such file; give a DeepSpeed configuration, --deepspeed_config")
    return path


def read_zero_config(path: Path) -> dict[str, Any]:
    """What `TrainingArguments(deepspeed=…)` takes.

    Raises:
        UserError: the file is not a JSON object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a JSON object, DeepSpeed's configuration")
    return config
