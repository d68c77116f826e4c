"""Score completions with a reward model: `python -m gcrm.evaluate`."""

from gcrm.cli import run_stage
from gcrm.settings.evaluate import EvaluateOptions


def run(options: EvaluateOptions) -> None:
    """Score as the options say; see `gcrm.scoring`."""
    from gcrm.scoring import score_benchmarks

    score_benchmarks(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(EvaluateOptions, run))
