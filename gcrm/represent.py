"""Stage `represent`: extracts the goal state of a reward model."""

from gcrm.cli import run_stage
from gcrm.config.represent import RepresentOptions
from gcrm.utils.gpus import take_gpus
from gcrm.utils.locks import claim


def run(options: RepresentOptions) -> None:
    """Average the hidden states at the last token of the chosen completions."""
    from gcrm.scoring.goal_state import extract_goal_state

    with claim(options.save_dir):
        extract_goal_state(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(RepresentOptions, run, before=take_gpus))
