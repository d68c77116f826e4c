# What all rules share: the checked config, and how a job is described to Snakemake.

import os
import re
import sys
import time
from pathlib import Path

# The package beside this workflow comes before an installed one. Jobs run the same Python and the
# same package, though the environment may not be activated. Variables keep the paths of this machine
# out of the commands; envs/gcrm.post-deploy.sh installs the package from GCRM_SOURCE.
PROJECT = Path(str(workflow.current_basedir)).parent.parent
IS_LOCAL = (PROJECT / "gcrm").is_dir()
first = {"PATH": str(Path(sys.executable).parent)}
if IS_LOCAL:
    sys.path.insert(0, str(PROJECT))
    first["PYTHONPATH"] = str(PROJECT)
    os.environ.update(GCRM_SOURCE=str(PROJECT))
for variable, folder in first.items():
    os.environ[variable] = os.pathsep.join(filter(None, [folder, os.environ.get(variable)]))
os.environ.pop("PYTHONOPTIMIZE", None)  # transformers needs its docstrings

from gcrm.config.layout import CHECKPOINT, goal_state_file
from gcrm.config.loading import check_keys, check_launchers, load
from gcrm.config.options import check_target
from gcrm.cost import estimate_line
from gcrm.data.checks import check_inputs
from gcrm.lineage.provenance import FILE, beside
from gcrm.lineage.rules import Rules
from gcrm.reporting import contents
from gcrm.training.tracking import FROM_RUN
from gcrm.utils.errors import UserError
from gcrm.utils.gpus import visible_gpus
from gcrm.utils.logging import printable_lines
from gcrm.utils.processes import end_stages_with_this_process
from gcrm.verify import verdict

STARTED = time.time()
end_stages_with_this_process()

config_name = ", ".join(
    os.path.relpath(path) for path in workflow.overwrite_configfiles or workflow.configfiles
)
try:
    for file in workflow.configfiles:
        check_keys(Path(os.path.relpath(file)))
    settings = load(config, config_name)
    # Jobs on other machines parse this file, too; the data were checked before any was sent.
    if workflow.is_main_process:
        check_inputs(settings, config_name, Path(".snakemake/gcrm_inputs.json"))
        if workflow.nodes is None:  # this machine starts the jobs, not a cluster
            check_launchers(settings, config_name)
        # The targets of a workflow that uses this one as a module are its own.
        for word in sys.argv[1:] if Path(workflow.basedir).parent == PROJECT else ():
            check_target(settings, word)
except UserError as error:
    sys.exit(printable_lines(str(error)))

# A variable and not an option of `train`: other tags on wandb train nothing anew.
os.environ[FROM_RUN] = settings.tracking().model_dump_json()

RESULTS = str(settings.folder)
MODEL, GOAL_STATE = settings.path("train"), settings.path("represent")

# On this machine no more jobs start than there are GPUs for, or a job would hold a core while it waits
# for one. On a cluster, this is the cluster's task.
GPUS_HERE = len(visible_gpus()) if workflow.is_main_process and workflow.nodes is None else 0
if GPUS_HERE and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS_HERE)
jobs = Rules(settings, GPUS_HERE)


def one_of(names):
    """A regular expression for exactly these names."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


wildcard_constraints:
    variant=one_of(settings.variants),
    policy=one_of(settings.policies),
    seed=one_of(settings.seeds),
    benchmark=one_of([*settings.scored_sets(), *settings.heldout]),
    split="greedy|all|pairs",


def shown(name, part):
    """A file of the report, marked for Snakemake's own report, which shows the SVG of a figure."""
    path = f"{RESULTS}/report/{name}"
    if name.endswith(".png"):
        return path
    caption = f"../report/{part.kind}.rst"
    labels = contents.labels(part, name)
    return report(path, caption=caption, category=part.category, labels=labels)
