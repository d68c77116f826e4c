"""Stage `generate`: samples solutions, and ends bad ones while they are generated."""

from gcrm.cli import run_stage
from gcrm.config.generate import GenerateOptions
from gcrm.utils.gpus import take_gpus
from gcrm.utils.locks import claim


def run(options: GenerateOptions) -> None:
    """Write the samples and votes of all methods, and what they cost."""
    from gcrm.decoding.generating import generate

    with claim(options.save_dir):
        generate(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(GenerateOptions, run, before=take_gpus))
