"""Score completions or held-out preferences with a reward model: `python -m gcrm.evaluate`."""

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.utils.gpus import take_gpus


def run(options: EvaluateOptions) -> None:
    """Score as the options say; see `gcrm.scoring.completions` and `gcrm.scoring.pair_scoring`."""
    if options.dataset:
        from gcrm.scoring.pair_scoring import score_heldout

        score_heldout(options)
    else:
        from gcrm.scoring.completions import score_benchmarks

        score_benchmarks(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(EvaluateOptions, run, before=take_gpus))
