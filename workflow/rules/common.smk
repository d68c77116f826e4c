# What all rules share: the checked config, and how a job is described to Snakemake.

import json
import os
import sys
import time
from pathlib import Path

from snakemake.settings.enums import Quietness

# The package beside this workflow comes before an installed one.
sys.path.insert(0, str(Path(workflow.basedir).parent))

from gcrm.reporting import contents
from gcrm.config.loading import check_keys, check_launchers, load, unknown_part
from gcrm.cost import estimate_line
from gcrm.utils.errors import UserError
from gcrm.lineage.fingerprint import describe
from gcrm.data.checks import check_inputs
from gcrm.utils.processes import end_stages_with_this_process
from gcrm.utils.logging import printable_lines
from gcrm.config.base import flags
from gcrm.config.metrics import OF_SOLUTIONS
from gcrm.config.prepare import PrepareSettings
from gcrm.utils.paths import files_of
from gcrm.training.tracking import FROM_RUN
from gcrm.utils.gpus import visible_gpus

STARTED = time.time()

# Jobs run the Python and the package that this Snakemake runs, though the environment may not be
# activated. Set here and not in the commands, so that no path of a machine is in them.
for name, first in [("PATH", Path(sys.executable).parent), ("PYTHONPATH", Path(sys.path[0]))]:
    os.environ[name] = os.pathsep.join([str(first), *filter(None, [os.environ.get(name)])])

# If this Snakemake is killed, its jobs end, too.
end_stages_with_this_process()

config_name = (
    ", ".join(os.path.relpath(path) for path in workflow.overwrite_configfiles)
    or "config/config.yaml"
)
try:
    for file in workflow.configfiles:
        check_keys(Path(os.path.relpath(file)))
    settings = load(config, config_name)
    # Jobs on other machines parse this file, too; the data were checked before any was sent.
    if workflow.is_main_process:
        check_inputs(settings, config_name, Path(".snakemake/gcrm_inputs.json"))
        if workflow.nodes is None:  # jobs are started here, not by a cluster
            check_launchers(settings, config_name)
        for word in sys.argv[1:]:
            if problem := unknown_part(settings, word):
                raise UserError(f"{word}: {problem}")
except UserError as error:
    sys.exit(printable_lines(str(error)))

# Set here, too, and not as options of `train`: other tags on wandb train nothing anew.
os.environ[FROM_RUN] = settings.tracking().model_dump_json()

RESULTS = str(settings.folder)
MODEL = f"{RESULTS}/models/{{variant}}/seed{{seed}}"
GOAL_STATE = f"{RESULTS}/goal_states/{{variant}}/seed{{seed}}"
SCORES = f"{RESULTS}/scores/{{variant}}/seed{{seed}}/{{benchmark}}"
COMPARISONS = f"{RESULTS}/comparisons/{{benchmark}}"
REPORT = f"{RESULTS}/report"
METRICS = f"{RESULTS}/metrics/{{variant}}/seed{{seed}}/{{benchmark}}"

# What there is to report on; it decides which tables and figures there are.
SCOPE = contents.Scope(
    variants=list(settings.variants),
    benchmarks=bool(settings.benchmarks),
    sampled=any("all" in settings.splits(benchmark) for benchmark in settings.benchmarks),
    heldout=bool(settings.heldout),
    compared=len(settings.variants) > 1,
)

# On this machine, no more jobs start than there are GPUs for, or each would wait in a core's place for
# one that is free; which one it takes is seen in the job. On a cluster, that is the cluster's matter.
GPUS_HERE = len(visible_gpus()) if workflow.is_main_process and workflow.nodes is None else 0
if GPUS_HERE and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS_HERE)

# What transformers needs to load a checkpoint.
CHECKPOINT = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
]


def one_of(names):
    """A regular expression for exactly these names."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


wildcard_constraints:
    variant=one_of(settings.variants),
    seed=one_of(settings.seeds),
    benchmark=one_of(settings.scored_sets()),
    split="greedy|all",


def section(stage, wildcards):
    """The settings of a stage; those of `train` are the variant's."""
    return settings.variant(wildcards.variant) if stage == "train" else getattr(settings, stage)


def tracked(stage, leave_out=()):
    """A param for each setting of a stage, so that `snakemake -n` names the one that changed."""

    def setting(key):
        return lambda wildcards: f"{stage}.{key}: {getattr(section(stage, wildcards), key)}"

    keys = type(getattr(settings, stage)).model_fields
    return [setting(key) for key in keys if key not in leave_out]


def code(stage):
    """The version of the code that a stage runs: editing comments does not change it."""
    return describe(f"gcrm.{stage}")


def download_flags():
    """The options by which `prepare` fetches what the config downloads."""
    used = settings.used_downloads()
    entries = {
        name: entry.model_dump(mode="json", exclude_defaults=True) for name, entry in used.items()
    }
    return {
        "downloads": json.dumps(entries),
        "download_dir": f"{RESULTS}/downloads",
        "preferences_dir": f"{RESULTS}/preferences",
        "data_seed": settings.data_seed,
    }


def not_fetched(files):
    """Those of the files that are there before the run."""
    fetched = settings.fetched_files()
    return [str(file) for file in files if Path(file) not in fetched]


def folder_of(files):
    """The folder that all of `files` lie in."""
    return os.path.commonpath([os.path.dirname(file) for file in files])


def scores_of_all(benchmark, split):
    """The score tables of all variants and seeds; none where the benchmark has no such split."""
    return expand(
        f"{SCORES}/{split}/scores.parquet",
        variant=settings.variants,
        seed=settings.seeds,
        benchmark=[benchmark] if split in settings.splits(benchmark) else [],
    )


def shown(parts, files_of_part):
    """The files of parts of the report, marked for Snakemake's own report: of figures the SVG."""
    return [
        (
            f"{REPORT}/{name}"
            if name.endswith(".png")
            else report(
                f"{REPORT}/{name}",
                caption=f"../report/{part.kind}.rst",
                category=part.category,
                labels=contents.labels(part, name),
            )
        )
        for part in parts
        for name in files_of_part(part)
    ]


def hide_reasons():
    """Print what a job does, and no longer why it runs."""
    quiet = workflow.output_settings.quiet
    if isinstance(quiet, set):
        quiet.add(Quietness.REASON)


def count_no_jobs_a_second():
    """Start jobs as soon as there is room, unless the user limits jobs a second.

    Snakemake's own limit of 100 makes it look for jobs to start once a second for every job that it
    has started so far, which after some hundred jobs takes a large part of a core.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit is not None and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def show_cost():
    """Say what the run will cost, as far as it is known. What cannot be estimated stops nothing."""
    try:
        line = estimate_line(settings, config_name, cores=workflow.resource_settings.cores)
    except Exception as error:  # a defect of the estimate is no reason not to run
        line = f"cost: could not be estimated ({error})"
    print(line, file=sys.stderr)


def show_report(summary):
    """Print the summary of a report that was made just now: its table, and where the files lie."""
    path = Path(str(summary))
    if path.is_file() and path.stat().st_mtime >= STARTED:
        print(path.read_text(encoding="utf-8").rstrip(), file=sys.stderr)
