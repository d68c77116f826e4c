"""Environment variables of libraries that would override options, or end a stage hours later."""

import os

from gcrm.utils.logging import say


def drop_harmful_variables() -> None:
    """Unset, and name, what `accelerate` would do beside the options, and unusable cache folders.

    With another precision or compiler, a training ends without a model that can be saved; torch
    does not even load without its cache folder.
    """
    for name in sorted(os.environ):
        if name.startswith("ACCELERATE_"):
            _drop(name, "the options decide")
        elif name == "TORCHINDUCTOR_CACHE_DIR":
            try:
                os.makedirs(os.environ[name], exist_ok=True)
            except OSError as error:
                _drop(name, f"no folder can be made there ({error.strerror})")


def _drop(name: str, reason: str) -> None:
    say(f"{name}={os.environ.pop(name)} of the environment is not used: {reason}")
