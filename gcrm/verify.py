"""Command `verify`: compares a run with the published one, bit by bit.

The default run does so at its end. `--write` makes the file of digests for a run to be published.
"""

from pathlib import Path

from gcrm.cli import run_stage, show
from gcrm.config.loading import load, read_config
from gcrm.config.run import Config
from gcrm.config.verify import VerifyOptions
from gcrm.lineage.digests import digests_of, first_difference, told
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_json, write_json
from gcrm.utils.logging import say


def run(options: VerifyOptions) -> None:
    """Compare, or write the digests.

    Raises:
        UserError: there is nothing to compare, or the results differ.
    """
    config = load(read_config(options.config), str(options.config))
    published = options.digests or published_digests(config)
    now = digests_of(config)
    if not now["results"]:
        raise UserError(f"{config.folder}: has no results; make them first: snakemake --cores all")
    if options.write:
        write_json(published, now)
        say(f"verify: wrote {published}")
        return
    then = read_json(published, "verify --write")
    text = told(now, then)
    if first_difference(now, then) or now["config"] != then["config"]:
        raise UserError(text)
    show(text + "\n")


def published_digests(config: Config, project: Path = Path()) -> Path:
    """Where the digests of a published run lie."""
    return project / "results" / "published" / config.run / "digests.json"


def verdict(config: Config, project: Path) -> str | None:
    """What a run says at its end; None where no run of its name and settings is published."""
    path = published_digests(config, project)
    if not path.is_file():
        return None
    now, then = digests_of(config), read_json(path, "verify --write")
    return None if now["config"] != then["config"] else told(now, then)


if __name__ == "__main__":
    raise SystemExit(run_stage(VerifyOptions, run))
