"""Take GPUs for a command, waiting for them if necessary: `python -m gcrm.gpus COUNT COMMAND…`.

    python -m gcrm.gpus 2 torchrun --standalone --nproc-per-node 2 -m gcrm.train …

takes two GPUs and becomes the command after the number, which sees only these two
(CUDA_VISIBLE_DEVICES). A stage that is started without it takes one GPU for itself.
"""

import os
import sys
from collections.abc import Sequence

from gcrm.utils.errors import UserError
from gcrm.utils.gpus import take_gpus
from gcrm.utils.logging import say


def main(words: Sequence[str]) -> int:
    """Take the GPUs and become the command; returns an exit status only if it does not."""
    if list(words) in (["--help"], ["-h"]):
        print(__doc__.strip())
        return 0
    try:
        if len(words) < 2 or not words[0].isdecimal():
            raise UserError("usage: python -m gcrm.gpus COUNT COMMAND…, COUNT a number")
        count, *command = words
        stages = [word.removeprefix("gcrm.") for word in command if word.startswith("gcrm.")]
        take_gpus(stages[0] if stages else command[0], int(count))
        os.execvp(command[0], command)
    except UserError as error:
        say(f"gpus: error: {error}")
        return 1
    except OSError as error:
        say(f"gpus: error: {words[1]}: {error.strerror}")
        return 127
    except KeyboardInterrupt:
        say("gpus: interrupted")
        return 130


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
