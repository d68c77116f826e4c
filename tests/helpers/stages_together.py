"""Several scoring stages in one process, for tests with torchrun, which takes long to start.

torchrun … tests/helpers/stages_together.py evaluate FLAGS… -- represent FLAGS… -- …
"""

import sys
from itertools import groupby

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.goals import GoalsOptions
from gcrm.config.represent import RepresentOptions
from gcrm.evaluate import run as evaluate
from gcrm.goals import run as goals
from gcrm.represent import run as represent

STAGES = {
    "evaluate": (EvaluateOptions, evaluate),
    "goals": (GoalsOptions, goals),
    "represent": (RepresentOptions, represent),
}

for is_border, words in groupby(sys.argv[1:], "--".__eq__):
    if not is_border:
        stage, *flags = words
        options, run = STAGES[stage]
        if status := run_stage(options, run, flags):
            raise SystemExit(status)
