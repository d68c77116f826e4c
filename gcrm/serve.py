"""Command `serve`: scores over HTTP with a reward model."""

from gcrm.cli import run_stage
from gcrm.config.serve import ServeOptions
from gcrm.utils.errors import UserError
from gcrm.utils.gpus import take_gpus


def run(options: ServeOptions) -> None:
    """Serve until SIGTERM or Ctrl-C; what was accepted by then is finished.

    Raises:
        UserError: the extra `serve` is not installed, or the server cannot be started.
    """
    try:
        from gcrm.serving.server import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name} is not installed; get it with: pip install 'gcrm[serve]'"
        ) from None
    serve(options)


if __name__ == "__main__":
    raise SystemExit(run_stage(ServeOptions, run, before=take_gpus))
