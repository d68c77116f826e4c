"""What the current config would give the stage that made a result, as its provenance has it.

The rules of the workflow give the same to new jobs, and Snakemake compares theirs when it looks for
what is to be built again.
"""

from pathlib import Path
from typing import Any

from gcrm.config.metrics import OF_SOLUTIONS, StatisticsSettings
from gcrm.config.run import MAKING, Config
from gcrm.config.train import NO_MATTER
from gcrm.lineage.origins import Step

GIVEN_BY_RULES = {
    "sample": {"num_samples"},
    "evaluate": {"goal_attribute", "max_pairs", "max_problems"},
    "train": NO_MATTER,
}
"""settings that the rules give as paths, or as the set of data asks for; `_given` has them"""


def settings_now(config: Config, step: Step) -> dict[str, Any]:
    """Options that the config decides; `threads`; as `inputs`, files that must be among those."""
    left_out = set(GIVEN_BY_RULES.get(step.stage, ()))
    if step.facts["options"].get("pair_scores"):
        left_out |= set(OF_SOLUTIONS)
    section = {k: value for k, value in _section(config, step).items() if k not in left_out}
    if threads := getattr(config.threads, step.stage, None):
        section["threads"] = threads
    return section | _given(config, step)


def _section(config: Config, step: Step) -> dict[str, Any]:
    """The stage's section of the config; that of `train` is the variant's."""
    if step.stage == "train":
        variant = step.path.parent.parent.name
        known = variant in config.variants
        return config.variant(variant).model_dump(mode="json") if known else {}
    if step.stage not in (*MAKING, "represent", "evaluate", "metrics", "compare", "report"):
        return {}
    settings = getattr(config, step.stage)
    section: dict[str, Any] = {} if settings is None else settings.model_dump(mode="json")
    if step.stage == "compare":
        shared = set(StatisticsSettings.model_fields)
        section |= config.metrics.model_dump(mode="json", include=shared)
    if step.stage in MAKING and settings is not None:
        section["data_seed"] = config.data_seed
    return section


def _given(config: Config, step: Step) -> dict[str, Any]:
    """What the rules give by themselves: data, models, and caps of the data that are scored."""
    options = step.facts["options"]
    base_model = config.base_model or str(config.folder / "base_model")
    match step.stage:
        case "prepare":
            brought = {} if config.made else {"dataset": config.preference_sources()}
            sets = {"benchmarks": config.benchmarks, "heldout": config.heldout_sources()}
            return sets | brought
        case "sample":
            return {
                "model": base_model,
                "num_samples": config.samples(Path(options["save_dir"]).name),
            }
        case "train":
            return {
                "pretrain": base_model,
                "dataset": config.preference_sources(),
                "dataset_probs": config.dataset_probs,
            }
        case "represent":
            return {"dataset_path": config.preference_sources()}
        case "evaluate":
            return _scored(config, step)
        case "compare" | "report":
            return _of_all_models(config, step)
    return {}


def _scored(config: Config, step: Step) -> dict[str, Any]:
    """The held-out pairs, or the completions, of a job of `evaluate`."""
    options = step.facts["options"]
    if options["dataset"]:
        name = Path(options["output"] or "").parent.parent.name
        if name not in config.heldout:
            return {}
        source = config.local(config.heldout[name])
        return {"dataset": [source], "max_pairs": config.evaluate.max_pairs}
    found: dict[str, Any] = {
        "completions_data_path": str(config.completions_folder()),
        "max_problems": config.evaluate.max_problems,
    }
    if found["completions_data_path"] == options["completions_data_path"]:
        found["inputs"] = [
            str(file)
            for benchmark in options["benchmarks"]
            for split in options["splits"]
            for file in config.completion_files(benchmark, split)
        ]
    return found


def _of_all_models(config: Config, step: Step) -> dict[str, Any]:
    """The files of all variants and seeds that `compare` or `report` read."""
    options = step.facts["options"]
    models = [f"{variant}/seed{seed}" for variant in config.variants for seed in config.seeds]
    if step.stage == "compare":
        benchmark = Path(options["output"]).stem
        split = "pairs" if options["pair_scores"] else "greedy"
        scores = [
            str(config.folder / "scores" / model / benchmark / split / "scores.parquet")
            for model in models
        ]
        return {"pair_scores" if split == "pairs" else "scores": scores}
    metrics, heldout = (
        [str(config.folder / "metrics" / model / f"{name}.json") for model in models for name in of]
        for of in (config.benchmarks, config.heldout)
    )
    return {"metrics": metrics, "heldout_metrics": heldout}
