"""Several scoring stages in one process, for tests with torchrun, which takes long to start.

torchrun … tests/helpers/stages_together.py evaluate FLAGS… -- represent FLAGS… -- …
"""

import sys
from itertools import groupby

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.represent import RepresentOptions
from gcrm.evaluate import run as evaluate
from gcrm.represent import run as represent

for is_border, words in groupby(sys.argv[1:], "--".__eq__):
    if not is_border:
        stage, *flags = words
        if stage == "evaluate":
            status = run_stage(EvaluateOptions, evaluate, flags)
        else:
            status = run_stage(RepresentOptions, represent, flags)
        if status:
            raise SystemExit(status)
