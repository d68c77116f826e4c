"""Stage `goals`: filters samples by goal states of few, wrong or mixed examples."""

from gcrm.cli import run_stage
from gcrm.config.goals import GoalsOptions
from gcrm.utils.gpus import take_gpus
from gcrm.utils.locks import claim


def run(options: GoalsOptions) -> None:
    """Write the measurements of all goal states of a model."""
    from gcrm.scoring.goals import measure_goal_states

    with claim(options.output):
        measure_goal_states(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(GoalsOptions, run, before=take_gpus))
