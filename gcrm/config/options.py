"""The options of a job: what the config of a run gives a stage for one variant, seed, benchmark.

`options()` is the only place that turns a config into command lines. The rules of the workflow
call it for new jobs, `trace` compares it with what a finished job recorded, and tests read it.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from gcrm.config import policy, train
from gcrm.config.base import Settings
from gcrm.config.jobs import COMPUTING
from gcrm.config.layout import PAIRS, RESULTS, wildcards_of
from gcrm.config.run import Config
from gcrm.config.types import Role, role_of
from gcrm.utils.errors import UserError

NO_MATTER = {"train": train.NO_MATTER, "policy": policy.NO_MATTER}
"""options of a stage that do not affect its result"""
OF_SOLUTIONS = {"filter_threshold", "skip_tokens", "correlation_percentiles"}
"""settings of `metrics` that do not concern held-out pairs"""
Given = dict[str, Any]
Wildcards = Mapping[str, str]


def options(config: Config, stage: str, wildcards: Wildcards) -> Settings:
    """The options of a job of a stage, with all its paths.

    Args:
        stage: name of the stage, which is also that of its rule.
        wildcards: those of its result in `gcrm.config.layout`: variant, seed, benchmark, split or
            problem_set.

    Raises:
        UserError: the config has no such variant, seed, benchmark or split.
        pydantic.ValidationError: a path does not fit, such as a result that would replace an input.
    """
    check_wildcards(config, wildcards)
    given = OF_STAGE[stage](config, wildcards, config.path(stage, wildcards))
    if stage in COMPUTING and config.is_reproducible:
        given["reproducible"] = True
    return options_model(stage)(**given)


def options_model(stage: str) -> type[Settings]:
    """The class of a stage's options: `gcrm.config.<stage>.<Stage>Options`."""
    module = import_module(f"gcrm.config.{stage}")
    model: type[Settings] = getattr(module, f"{stage.capitalize()}Options")
    return model


def tracked_options(stage: str) -> list[str]:
    """The options whose change makes a result outdated; files are tracked as inputs of the rule."""
    return [
        name
        for name, field in options_model(stage).model_fields.items()
        if role_of(field) in (None, Role.SOURCE) and name not in NO_MATTER.get(stage, ())
    ]


def check_wildcards(config: Config, wildcards: Wildcards) -> None:
    """Refuse a variant, seed, benchmark or split that the config does not have.

    Raises:
        UserError: the first one that is unknown, and the known ones.
    """
    known = {
        "variant": list(config.variants),
        "policy": list(config.policies),
        "seed": list(map(str, config.seeds)),
        "benchmark": [*config.scored_sets(), *config.heldout],
        "problem_set": config.problem_sets(),
    }
    for kind, names in known.items():
        if kind in wildcards and wildcards[kind] not in names:
            raise UserError(f"no {kind} {wildcards[kind]!r}; the config has {', '.join(names)}")
    if "split" in wildcards:
        benchmark, split = wildcards["benchmark"], wildcards["split"]
        if split not in (splits := config.scored_splits(benchmark)):
            raise UserError(f"{benchmark!r} has no split {split!r}; it has {', '.join(splits)}")


def check_target(config: Config, target: str) -> None:
    """Refuse a target below results/ of which the config does not know a part.

    Snakemake alone would only say that no rule makes the file.

    Raises:
        UserError: one line: the target, the unknown part, and the known ones.
    """
    path = Path(os.path.normpath(target.removesuffix(".provenance.json")))
    folder = config.folder
    if len(path.parts) < 3 or path.parts[0] != folder.parts[0]:
        return
    if path.parts[1] != config.run:
        raise UserError(
            f"{target}: the config is of the run {config.run!r}, not {path.parts[1]!r}; "
            "give --configfile"
        )
    for stage in RESULTS:
        try:
            wildcards = wildcards_of(path, folder, stage)
            check_wildcards(config, wildcards)
        except ValueError:
            continue  # another stage's
        except UserError as error:
            raise UserError(f"{target}: {error}") from None
        if stage == "goals" and config.goals is None:
            raise UserError(
                f"{target}: the config does not ask for goal states of few examples; add a section "
                "goals: {} to it"
            )
        if stage == "generate" and wildcards.get("benchmark") not in [None, *config.generated()]:
            raise UserError(
                f"{target}: the config does not ask for it; add a section generate: {{}} to it, or "
                "the benchmark to generate.benchmarks"
            )


def _prepare(config: Config, wildcards: Wildcards, result: Path) -> Given:
    given: Given = {
        "benchmarks": config.benchmarks,
        "heldout": config.heldout_sources(),
        "report": result,
    }
    if config.prepare is not None:
        made = {"problems_dir": config.path("problems"), "data_seed": config.data_seed}
        return given | _set(config.prepare) | made
    given |= {
        "dataset": config.preference_sources(),
        "completions_data_path": config.completions and config.completions_folder(),
    }
    # The tokenizer counts questions as `evaluate` will, which the authors' own encoding does not.
    if config.completions and any(config.variant(v).parity == "none" for v in config.variants):
        given |= {
            "base_model": config.base_model,
            "chat_template": config.chat_template,
            "max_len": config.evaluate.max_len,
            "max_problems": config.evaluate.max_problems,
        }
    if downloads := config.used_downloads():
        given |= {
            "downloads": downloads,
            "download_dir": config.path("downloads"),
            "preferences_dir": config.path("preferences").parent,
            "data_seed": config.data_seed,
        }
    return given


def _pretrain(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return _set(config.pretrain) | {
        "problems": config.path("problems") / "pretrain.jsonl",
        "save_path": result,
        "data_seed": config.data_seed,
    }


def _sample(config: Config, wildcards: Wildcards, result: Path) -> Given:
    problem_set = wildcards["problem_set"]
    solver = {"model": config.base_model_source(), "chat_template": config.chat_template}
    if config.sample is not None and config.sample.error_rate is not None:
        solver = {}
    return _set(config.sample) | {
        **solver,
        "problems": config.path("problems") / f"{problem_set}.jsonl",
        "save_dir": result,
        "num_samples": config.samples(problem_set),
        "data_seed": config.data_seed,
    }


def _pair(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return _set(config.pair) | {
        "completions": config.paired_files(),
        "output": result,
        "data_seed": config.data_seed,
    }


def _train(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return _set(config.variant(wildcards["variant"])) | {
        "pretrain": config.base_model_source(),
        "chat_template": config.chat_template,
        "dataset": config.preference_sources(),
        "dataset_probs": config.dataset_probs,
        "save_path": result,
        "ckpt_path": config.path("checkpoints", wildcards),
        "curve_path": config.path("curve", wildcards),
        "seed": int(wildcards["seed"]),
    }


def _represent(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return _set(config.represent) | {
        "dataset_path": config.preference_sources(),
        "reward_model_path": str(config.path("train", wildcards)),
        "save_dir": result,
    }


def _evaluate(config: Config, wildcards: Wildcards, result: Path) -> Given:
    benchmark, split = wildcards["benchmark"], wildcards["split"]
    goal_states = config.path("represent", wildcards)
    given = _set(config.evaluate, leave_out={"goal_attribute", "max_pairs", "max_problems"}) | {
        "reward_model_path": str(config.path("train", wildcards)),
        "goal_state_path": goal_states / config.goal_state_name(),
        "output": result,
    }
    if split == PAIRS:
        source = config.local(config.heldout[benchmark])
        return given | {"dataset": [source], "max_pairs": config.evaluate.max_pairs}
    return given | {
        "completions_data_path": config.completions_folder(),
        "benchmarks": [benchmark],
        "splits": [split],
        "max_problems": config.evaluate.max_problems,
    }


def _goals(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return _set(config.goals) | {
        "reward_model_path": str(config.path("train", wildcards)),
        "dataset_path": config.preference_sources(),
        "completions_data_path": config.completions_folder(),
        "benchmarks": config.sampled(),
        "filter_threshold": config.metrics.filter_threshold,
        "skip_tokens": config.metrics.skip_tokens,
        "output": result,
    }


def _policy(config: Config, wildcards: Wildcards, result: Path) -> Given:
    reward_model = config.policy_reward_model(wildcards)
    return _set(config.named_policy(wildcards["policy"]), leave_out={"reward_model"}) | {
        "pretrain": config.base_model_source(),
        "chat_template": config.chat_template,
        "dataset": config.preference_sources(),
        "reward_model_path": None if reward_model is None else str(reward_model),
        "eval_problems": config.policy_problems(dev=True),
        "problems": config.policy_problems(dev=False),
        "save_path": result,
        "ckpt_path": config.path("policy_checkpoints", wildcards),
        "seed": int(wildcards["seed"]),
    }


def _policies(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return {
        "policies": [config.path("policy", one) for one in config.policy_jobs()],
        "base_solutions": config.base_solutions(),
        "in_distribution": config.report.in_distribution,
        "synthetic": config.report.synthetic,
        "bootstrap_resamples": config.metrics.bootstrap_resamples,
        "bootstrap_seed": config.metrics.bootstrap_seed,
        "save_dir": result,
    }


def _generate(config: Config, wildcards: Wildcards, result: Path) -> Given:
    shared = {"skip_tokens", "bootstrap_resamples", "bootstrap_seed"}
    measured = config.metrics.model_dump(include=shared)
    return (
        measured
        | _set(config.generate, leave_out={"benchmarks"})
        | {
            "model": config.base_model_source(),
            "chat_template": config.chat_template,
            "reward_model_path": str(config.path("train", wildcards)),
            "goal_state_path": config.path("represent", wildcards) / config.goal_state_name(),
            "problems": config.problems_of(wildcards["benchmark"]),
            "seed": config.data_seed,
            "save_dir": result,
        }
    )


def _export(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return {"scores": config.path("evaluate", wildcards), "output": result}


def _metrics(config: Config, wildcards: Wildcards, result: Path) -> Given:
    first, *samples = config.measured_files(wildcards)
    return _statistics(config, wildcards["benchmark"]) | {
        "scores": first,
        "sample_scores": samples[0] if samples else None,
        "output": result,
    }


def _compare(config: Config, wildcards: Wildcards, result: Path) -> Given:
    benchmark = wildcards["benchmark"]
    return {
        **_statistics(config, benchmark),
        **_set(config.compare),
        "scores": config.score_files(benchmark, config.scored_splits(benchmark)[0]),
        "sample_scores": config.score_files(benchmark, "all"),
        "output": result,
    }


def _statistics(config: Config, benchmark: str) -> Given:
    """The settings of `metrics` that concern a benchmark, or a held-out set of pairs."""
    return _set(config.metrics, leave_out=OF_SOLUTIONS if benchmark in config.heldout else None)


def _report(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return _set(config.report) | {
        "run": config.run,
        "base_model": config.base_model,
        "metrics": config.metrics_files(),
        "comparisons": config.comparison_files(),
        "goals": config.goals_files(),
        "generated": [folder / "estimates.json" for folder in config.generate_folders()],
        "filter_threshold": config.metrics.filter_threshold,
        "skip_tokens": config.metrics.skip_tokens,
        "scores_dir": config.path("scores"),
        "models_dir": config.path("models"),
        "data_report": config.path("prepare"),
        "save_dir": result,
    }


def _track(config: Config, wildcards: Wildcards, result: Path) -> Given:
    return _set(config.tracking()) | {
        "run": config.run,
        "metrics": config.metrics_files(),
        "comparisons": config.comparison_files(),
        "models_dir": config.path("models"),
        "output": result,
    }


OF_STAGE: dict[str, Callable[[Config, Wildcards, Path], Given]] = {
    "prepare": _prepare,
    "pretrain": _pretrain,
    "sample": _sample,
    "pair": _pair,
    "train": _train,
    "represent": _represent,
    "evaluate": _evaluate,
    "goals": _goals,
    "policy": _policy,
    "policies": _policies,
    "generate": _generate,
    "export": _export,
    "metrics": _metrics,
    "compare": _compare,
    "report": _report,
    "track": _track,
}


def _set(settings: Settings | None, leave_out: set[str] | None = None) -> Given:
    """The settings that differ from their defaults, without those in `leave_out`."""
    if settings is None:
        return {}
    return settings.model_dump(exclude_defaults=True, exclude=leave_out)
