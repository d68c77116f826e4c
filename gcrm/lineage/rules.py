"""How the workflow describes a job to Snakemake: params, resources, command and log of a stage.

The params of a job are its options one by one and the version of its code. Snakemake compares them
with those of the last run, so `snakemake -n` names what changed. Files are compared as inputs.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from gcrm.config.base import Settings, flags
from gcrm.config.jobs import COMPUTING
from gcrm.config.options import options, tracked_options
from gcrm.config.run import Config
from gcrm.lineage.fingerprint import describe
from gcrm.utils.environment import SAME_BLAS

Wildcards = Mapping[str, str]


class Rules:
    """What the rules of a run ask for.

    Args:
        config: of the run.
        gpus_here: GPUs of the machine on which all jobs run; 0 on a cluster.
    """

    def __init__(self, config: Config, gpus_here: int = 0) -> None:
        self._config, self._gpus_here = config, gpus_here

        @cache
        def job(stage: str, wildcards: tuple[tuple[str, str], ...]) -> tuple[Settings, Any]:
            found = options(config, stage, dict(wildcards))
            return found, found.model_dump(mode="json")

        self._job = job

    def params(self, stage: str, **more: object) -> dict[str, object]:
        """The params of a rule.

        `flags` is a function of the output, too: Snakemake does not compare the results of such.

        Args:
            more: what else a result depends on.
        """

        def option(name: str) -> Callable[[Wildcards], str]:
            def value(wildcards: Wildcards) -> str:
                return f"{stage}.{name}: {self._job(stage, (*wildcards.items(),))[1][name]}"

            return value

        def all_flags(wildcards: Wildcards, output: object) -> str:
            return flags(self._job(stage, (*wildcards.items(),))[0])

        found: dict[str, object] = {name: option(name) for name in tracked_options(stage)}
        if stage in COMPUTING:
            found["threads"] = self._config.job(stage).threads
        return found | {"code": describe(f"gcrm.{stage}"), "flags": all_flags} | more

    def shell(self, stage: str, more: str = "") -> str:
        """The command of a rule. Threads are fixed, since results depend on their number.

        Args:
            more: further flags, with fields of Snakemake and a blank at the end.
        """
        start = "exec python"
        if stage in COMPUTING:
            threads = "OMP_NUM_THREADS={params.threads} MKL_NUM_THREADS={params.threads}"
            start = f"{threads} exec {{resources.launcher}}"
        if self._config.is_reproducible:
            start = " ".join([*(f"{name}={value}" for name, value in SAME_BLAS.items()), start])
        return f"{start} -m gcrm.{stage} {{params.flags}} {more}--log-file {{log:q}}"

    def resources(self, stage: str, mem_mb: int, runtime: int) -> dict[str, object]:
        """The resources of a rule.

        Args:
            mem_mb: memory of one process.
            runtime: minutes.
        """
        if stage not in COMPUTING:
            return {"mem_mb": mem_mb, "runtime": runtime}
        return self._config.job(stage).resources(mem_mb, self._gpus_here) | {"runtime": runtime}

    def log(self, stage: str, job: str) -> str:
        """The log of a job."""
        return str(self._config.folder / "logs" / stage / f"{job}.log")
