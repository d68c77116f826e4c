"""From the content of a config file to a checked `Config`, or one line for each mistake.

pydantic checks each key. This module replaces variables in paths and finds mistakes that concern
several keys. It does not read data: `gcrm.data.checks` does.
"""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gcrm.config.base import explain
from gcrm.config.download import PREFIX, download_name
from gcrm.config.jobs import PARALLEL
from gcrm.config.policy import RLOO_ONLY
from gcrm.config.prepare import FAMILIES
from gcrm.config.run import Config
from gcrm.config.sections import MAKING, PATHS, WITH_VARIABLES, as_list
from gcrm.config.train import CONTRASTIVE_ONLY, check_shares
from gcrm.utils.errors import UserError

NO_YAML = (ValueError, RecursionError, yaml.YAMLError)
"""what reading a file as YAML may raise"""


def load(given: Mapping[str, Any], where: str, environ: Mapping[str, str] = os.environ) -> Config:
    """Check a whole config.

    Args:
        given: the config as read from YAML and the command line.
        where: its file, for messages.
        environ: values of ${VAR} in paths.

    Raises:
        UserError: one line a mistake: file, key, expected value.
    """
    if odd := [key for key in given if not isinstance(key, str)]:
        raise UserError(
            f"{where}: the key {odd[0]!r} is not text, as YAML reads it (on, off, yes, no, "
            "numbers, dates); put it into quotes, or remove it"
        )
    try:
        config = Config(**_expanded(given, where, environ))
    except ValidationError as error:
        raise UserError(_once(explain(error, where, Config).splitlines())) from None
    checks = (
        *(_of_sections, _of_evaluation, _of_made, _of_downloads, _of_variants, _of_policies),
        _of_training,
    )
    if mistakes := [mistake for check in checks for mistake in check(config, given)]:
        raise UserError("\n".join(f"{where}: {mistake}" for mistake in mistakes))
    return config


def read_config(file: Path) -> dict[str, Any]:
    """The content of a config file, without keys that are given twice, otherwise unchecked.

    Raises:
        UserError: it cannot be read, or is not a mapping.
    """
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except (*NO_YAML, AttributeError) as error:  # AttributeError: of an unreadable timestamp
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: cannot be read as a config: {reason}") from None
    if not isinstance(given, dict):
        raise UserError(f"{file}: expected keys with values")
    check_keys(file)
    return given


def check_keys(file: Path) -> None:
    """Refuse a config that gives a key twice; YAML would silently take the last one.

    A file that cannot be read passes: its reader reports it.

    Raises:
        UserError: one line a key, with both lines of the file.
    """
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, *NO_YAML):
        return
    if repeated := list(_repeated(root)):
        raise UserError("\n".join(f"{file}: {problem}" for problem in repeated))


def _repeated(
    node: yaml.Node | None, above: str = "", seen: set[int] | None = None
) -> Iterable[str]:
    seen = set() if seen is None else seen
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return  # an alias (*name) may stand for a node that it is part of
    seen.add(id(node))
    if not isinstance(node, yaml.MappingNode):
        for child in node.value:
            yield from _repeated(child, above, seen)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            yield f"{above}{name}: is given twice, in lines {lines[name]} and {line}; keep one"
        lines[name] = line
        yield from _repeated(value, f"{above}{name}.", seen)


def check_launchers(config: Config, where: str) -> None:
    """Refuse jobs on several nodes on a machine without Slurm.

    Raises:
        UserError: the config has such jobs.
    """
    several = [f"nodes.{stage}" for stage in PARALLEL if config.job(stage).nodes > 1]
    if several and not shutil.which("srun"):
        raise UserError(
            f"{where}: {', '.join(several)}: several nodes need Slurm, and there is no srun here; "
            "on a cluster, give --workflow-profile workflow/profiles/slurm"
        )


def _expanded(given: Mapping[str, Any], where: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The config with the environment's values for ${VAR} in the keys WITH_VARIABLES."""

    def expand(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [expand(key, part) for part in value]
        if isinstance(value, Mapping):
            return {name: expand(f"{key}.{name}", part) for name, part in value.items()}
        if not isinstance(value, str):
            return value
        for name in re.findall(r"\$\{(\w+)\}", value):
            if not environ.get(name):
                option, _, inner = key.partition(".")
                other = f"{option}='{{{inner}: …}}'" if inner else f"{key}=…"
                raise UserError(
                    f"{where}: {key}: the environment variable {name} is not set; set it "
                    f"(export {name}=…), or give the value with --config {other}"
                )
            value = value.replace(f"${{{name}}}", environ[name])
        return os.path.expanduser(value)

    return {
        key: expand(key, value) if key in WITH_VARIABLES else value for key, value in given.items()
    }


def _once(lines: list[str]) -> str:
    """Without mistakes of variants that only repeat those of the shared section."""
    shared = {line.replace(": train.", ": ", 1) for line in lines if ": train." in line}
    return "\n".join(
        line for line in lines if re.sub(r": variants\.[^.:]+\.", ": ", line, count=1) not in shared
    )


def _of_sections(config: Config, given: Mapping[str, Any]) -> Iterable[str]:
    """Sections that do nothing or are missing, and paths that Snakemake cannot take."""
    sources = {key: as_list(getattr(config, key)) or [] for key in PATHS}
    sources |= {f"heldout.{name}": [source] for name, source in config.heldout.items()}
    for key, brought in sources.items():
        for source in brought:
            if "{" in source or "}" in source:
                yield f"{key}: {source}: has a brace, Snakemake's sign of a wildcard; rename it"
    if config.chat_template is not None and config.base_model is None:
        yield "chat_template: the made base model has its own; remove it, or give a base_model"
    for section, needed_for in MAKING.items():
        made = [key for key in needed_for if key in config.made]
        if getattr(config, section) is not None and not made:
            verb = "is" if len(needed_for) == 1 else "are"
            yield (
                f"{section}: would do nothing, since {', '.join(needed_for)} {verb} given; "
                f"remove the section, or what is given"
            )
        elif getattr(config, section) is None and made:
            yield (
                f"{made[0]}: is missing; give it, or a section {section}: "
                f"({section}: {{}} for the defaults) to make it"
            )


def _of_evaluation(config: Config, given: Mapping[str, Any]) -> Iterable[str]:
    if not (config.benchmarks or config.heldout):
        yield "benchmarks: is missing; name benchmarks, or held-out preference data (heldout)"
    for name in config.heldout:
        if name in config.scored_sets():
            yield f"heldout.{name}: is the name of a benchmark, too; rename it"
    if config.completions is not None and not config.benchmarks:
        yield "completions: does nothing without benchmarks; remove it, or name benchmarks"
    if config.goals is not None and not config.sampled():
        yield "goals: no benchmark has samples to filter; remove the section, or draw samples"
    if config.generate is not None and not config.generated():
        yield "generate: no benchmark has samples; name some as generate.benchmarks, or draw any"
    if unknown := [n for n in config.generated() if n not in config.scored_sets()]:
        yield (
            f"generate.benchmarks: {', '.join(unknown)}: no such benchmark; known are "
            f"{', '.join(config.scored_sets())}"
        )
    if unknown := [n for n in config.report.in_distribution if n not in config.benchmarks]:
        yield (
            f"report.in_distribution: {', '.join(unknown)}: no such benchmark; known are "
            f"{', '.join(config.benchmarks)}"
        )
    attributes, wanted = config.represent.attributes, config.evaluate.goal_attribute
    if attributes and config.preferences is None:
        yield "represent.attributes: made pairs have none; give preferences with such columns"
    if wanted is not None and wanted not in attributes:
        yield (
            f"evaluate.goal_attribute: {wanted!r} is not among represent.attributes "
            f"({', '.join(attributes) or 'which are none'})"
        )


def _of_made(config: Config, given: Mapping[str, Any]) -> Iterable[str]:
    if not config.made:
        return
    if unknown := [name for name in config.benchmarks if name not in FAMILIES]:
        yield (
            f"benchmarks: no problems can be made for {', '.join(unknown)}; "
            f"made are {', '.join(FAMILIES)} (others need base_model, preferences and completions)"
        )
    for key in ("preference_families", "pretrain_families") if config.prepare is not None else ():
        for name in getattr(config.prepare, key):
            if name not in FAMILIES:
                yield (
                    f"prepare.{key}: no problems can be made for {name!r}; "
                    f"known are {', '.join(FAMILIES)}"
                )
    if config.sample is None:
        return
    numbers = config.sample.num_samples
    known = [*config.benchmarks, "preference"]
    for name in numbers if "num_samples" in config.sample.model_fields_set else ():
        if name not in known and name.removeprefix("dev-") not in known:
            yield f"sample.num_samples.{name}: no such set; known are {', '.join(known)}"
    if config.preferences is None and numbers.get("preference", 0) < 2:
        yield "sample.num_samples.preference: must be at least 2, to make pairs of the solutions"


def _of_downloads(config: Config, given: Mapping[str, Any]) -> Iterable[str]:
    if download_name(config.base_model):
        yield "base_model: is not of downloads; give a hub id, a folder or a .gguf file"
    pairs = [("preferences", source) for source in config.preferences or []]
    pairs += [(f"heldout.{name}", source) for name, source in config.heldout.items()]
    uses = [(key, source, ["pairs", "solutions"]) for key, source in pairs]
    if config.completions is not None:
        uses.append(("completions", config.completions, ["completions"]))
    for key, source, formats in uses:
        name = download_name(source)
        if name is not None and name not in config.downloads:
            known = ", ".join(config.downloads) or "none"
            yield f"{key}: {source}: no such entry in downloads; there are: {known}"
        elif name is not None and config.downloads[name].format not in formats:
            yield (
                f"{key}: {source}: is of format {config.downloads[name].format}, where "
                f"{' or '.join(formats)} is needed"
            )
    if config.downloads and not config.used_downloads():
        yield (
            f"downloads: would do nothing; name an entry of it as a source (preferences: "
            f"{PREFIX}{next(iter(config.downloads))}), or remove it"
        )
    if config.used_downloads() and config.made:
        yield (
            f"downloads: the run would make {', '.join(config.made)} itself, which does not go "
            "together; give it"
        )
    for name, download in config.downloads.items():
        if unknown := sorted(set(download.samples) - set(config.benchmarks)):
            yield (
                f"downloads.{name}.samples.{unknown[0]}: no such benchmark; known are "
                f"{', '.join(config.benchmarks)}"
            )


def _of_variants(config: Config, given: Mapping[str, Any]) -> Iterable[str]:
    for name, settings in config.variants.items():
        own = (given["variants"] or {}).get(name) or {}
        idle = [key for key in CONTRASTIVE_ONLY if key in own]
        strategy = settings.reward_model_strategy
        if strategy != "contrastive" and idle:
            yield (
                f"variants.{name}.{idle[0]}: does nothing in a {strategy} reward model; remove it, "
                "or set reward_model_strategy: contrastive"
            )
    try:
        config.compare.compared(list(config.variants))
    except ValueError as error:
        yield f"compare: {error}"


def _of_policies(config: Config, given: Mapping[str, Any]) -> Iterable[str]:
    if not config.policies:
        if "policy" in config.model_fields_set:
            yield "policy: does nothing without policies; name some, or remove it"
        return
    if config.prepare is None or config.completions is not None or not config.benchmarks:
        yield (
            "policies: are measured on benchmarks that the run makes itself, which it does not; "
            "remove them, and use the command: gcrm policy --help"
        )
    for name, settings in config.policies.items():
        own = (given["policies"] or {}).get(name) or {}
        if settings.method == "dpo" and (idle := [key for key in RLOO_ONLY if key in own]):
            yield f"policies.{name}.{idle[0]}: does nothing with dpo; remove it"
        if settings.reward_model is not None and settings.reward_model not in config.variants:
            yield (
                f"policies.{name}.reward_model: no variant {settings.reward_model!r}; the config "
                f"has {', '.join(config.variants)}"
            )


def _of_training(config: Config, given: Mapping[str, Any]) -> Iterable[str]:
    """Processes, GPUs and batches that do not go together, and shares of preference data."""
    for stage in PARALLEL:
        for mistake in config.job(stage).mistakes():
            yield f"processes.{stage}: {mistake}"
    processes = config.job("train").processes
    for name, settings in config.variants.items():
        if settings.train_batch_size % (settings.micro_train_batch_size * processes):
            yield (
                f"variants.{name}.train_batch_size: {settings.train_batch_size} must be a multiple "
                f"of micro_train_batch_size ({settings.micro_train_batch_size}) times the "
                f"processes of train ({processes})"
            )
        if too_few := settings.too_few_pairs(processes):
            yield f"variants.{name}.{too_few}"
    if config.dataset_probs is not None and config.preferences is None:
        yield "dataset_probs: does nothing without preferences; remove it"
    elif config.preferences is not None:
        try:
            check_shares(config.dataset_probs, config.preferences)
        except ValueError as error:
            yield str(error)
