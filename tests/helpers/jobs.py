"""The jobs of a run, as the rules would have them, without Snakemake."""

from collections.abc import Iterator

from gcrm.config.layout import RESULTS
from gcrm.config.run import Config
from gcrm.lineage.rules import Rules

Job = tuple[str, dict[str, str]]


def jobs_of(config: Config) -> Iterator[Job]:
    """Stage and wildcards of every job of a run, and of `export`."""
    if config.prepare is not None and "base_model" in config.made:
        yield "pretrain", {}
    if config.prepare is not None and "preferences" in config.made:
        yield "pair", {}
    if config.prepare is not None:
        yield from (("sample", {"problem_set": name}) for name in config.problem_sets())
    yield from (("prepare", {}), ("report", {}), ("track", {}))
    for job in config.policy_jobs():
        yield "policy", {name: str(value) for name, value in job.items()}
    if config.policies:
        yield "policies", {}
    names = [*config.scored_sets(), *config.heldout]
    yield from (("compare", {"benchmark": name}) for name in names)
    for variant in config.variants:
        for seed in config.seeds:
            model = {"variant": variant, "seed": str(seed)}
            yield from (("train", model), ("represent", model))
            if config.goals is not None:
                yield "goals", model
            yield from (("generate", model | {"benchmark": name}) for name in config.generated())
            for name in names:
                yield "metrics", model | {"benchmark": name}
                for split in config.scored_splits(name):
                    scored = model | {"benchmark": name, "split": split}
                    yield from (("evaluate", scored), ("export", scored))


def params_of(config: Config) -> dict[str, dict[str, object]]:
    """What Snakemake compares of each job: name of the result -> params, without the flags."""
    rules = Rules(config)
    found = {}
    for stage, wildcards in jobs_of(config):
        params = rules.params(stage)
        params.pop("flags")
        name = RESULTS[stage].format_map(wildcards)
        found[f"{stage} {name}"] = {
            key: value(wildcards) if callable(value) else value for key, value in params.items()
        }
    return found
