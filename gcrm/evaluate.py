"""Stage `evaluate`: scores completions or held-out preferences with a reward model."""

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.utils.gpus import take_gpus


def run(options: EvaluateOptions) -> None:
    """Score the benchmarks or held-out sets of the options."""
    from gcrm.scoring.evaluation import evaluate

    evaluate(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(EvaluateOptions, run, before=take_gpus))
