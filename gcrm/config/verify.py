"""Options of `verify`: which run is compared with which digests."""

from pathlib import Path

from gcrm.config.base import Settings


class VerifyOptions(Settings):
    """Compare the results of a run with those that are published: the same bits, or where not.

    Prints `identical to the published run`, or the first stage whose results differ, and the reason
    as far as it is known; the exit status is then 1.
    """

    config: Path = Path("config/config.yaml")
    """config of the run"""
    digests: Path | None = None
    """file of the published digests (default: results/published/<run>/digests.json)"""
    write: bool = False
    """write the digests of this run into that file, instead of comparing"""
