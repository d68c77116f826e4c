"""What a config may say: one typed tree, whose sections are the settings of the stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.compare import CompareSettings
from gcrm.config.cost import CostSettings
from gcrm.config.download import Download
from gcrm.config.evaluate import EvaluateSettings
from gcrm.config.generate import GenerateSettings
from gcrm.config.goals import GoalsSettings
from gcrm.config.jobs import Computing, Count, Gpus, Parallel
from gcrm.config.metrics import MetricsSettings
from gcrm.config.pair import PairSettings
from gcrm.config.policy import NamedPolicy, PolicySettings
from gcrm.config.prepare import PrepareSettings
from gcrm.config.pretrain import PretrainSettings
from gcrm.config.report import ReportSettings
from gcrm.config.represent import RepresentSettings
from gcrm.config.sample import SampleSettings
from gcrm.config.track import TrackSettings
from gcrm.config.train import TrainSettings
from gcrm.config.types import Name, Seed, Source, Unique

Sources = Annotated[list[Source], Field(min_length=1), Unique]

PATHS = ("base_model", "preferences", "completions")
"""keys of data that a run may bring; the run makes what is not given"""
WITH_VARIABLES = (*PATHS, "heldout", "chat_template")
"""keys whose paths may contain ${VAR}, a variable of the environment"""
MAKING = {
    "prepare": PATHS,
    "pretrain": ("base_model",),
    "sample": ("preferences", "completions"),
    "pair": ("preferences",),
}
"""each section that makes data, and the keys it makes them for; needed if one of these is absent"""


def as_list(value: Any) -> Any:
    """A single source as a list of one."""
    return [value] if isinstance(value, str) else value


def _empty_if_none(value: Any) -> Any:
    return {} if value is None else value  # YAML: a key with nothing after it


def _laid_over(given: Mapping[str, Any], shared_key: str, named_key: str) -> dict[str, Any]:
    """The named settings of a config, each laid over those that all share."""
    shared, named = given.get(shared_key) or {}, given.get(named_key)
    if not isinstance(shared, Mapping) or not isinstance(named, Mapping):
        return {}
    return {
        named_key: {
            name: {**shared, **(own or {})} if isinstance(own, Mapping | None) else own
            for name, own in named.items()
        }
    }


class Sections(Settings):
    """The keys and sections of a config; `gcrm.config.run.Config` says what follows from them."""

    run: Name
    """name of the run; all its files are in results/<run>/"""
    seeds: Annotated[list[Seed], Field(min_length=1), Unique] = [0]
    """seeds of the reward models; each variant is trained once with each"""
    data_seed: Seed = 0
    """seed of made problems, of the made base model, of solutions and pairs"""
    benchmarks: Annotated[list[Name], Unique] = []
    """benchmarks to evaluate on; may be empty if there is heldout"""
    heldout: dict[Name, Source] = {}
    """held-out preference data to evaluate on, by name: .jsonl or .parquet file, `datasets` folder
    or hub id (both also with :<split>), or download:<name>"""

    base_model: Source | None = None
    """base model: hub id, folder or .gguf file (default: `pretrain` makes one)"""
    chat_template: Path | None = None
    """Jinja file with a chat template for the base model; reward models store it (default: the base
    model's own, or, where it has none, one with the names of the roles)"""
    preferences: Annotated[Sources | None, BeforeValidator(as_list)] = None
    """preference data, one source or a list: .jsonl or .parquet file, `datasets` folder or hub id
    (both also with :<split>), or download:<name> (default: `pair` makes them)"""
    dataset_probs: list[float] | None = None
    """share of each source of preferences in the mixture; the shares add to 1 (default: all rows of
    all)"""
    completions: Source | None = None
    """solutions to the benchmarks: folder with <benchmark>/output-greedy.jsonl and
    output-rs<k>.jsonl, or download:<name> (default: `sample` draws them)"""
    downloads: dict[Name, Download] = {}
    """files that `prepare` can fetch, by name; it fetches those that a source names as
    download:<name>"""

    prepare: PrepareSettings | None = None
    """the made problems; only in a run that makes data"""
    pretrain: PretrainSettings | None = None
    """the made base model; only without base_model"""
    sample: SampleSettings | None = None
    """the drawn solutions; only without preferences or without completions"""
    pair: PairSettings | None = None
    """the made preference pairs; only without preferences"""

    train: Annotated[TrainSettings, BeforeValidator(_empty_if_none)] = TrainSettings()
    """settings that all variants share"""
    variants: dict[Name, Annotated[TrainSettings, BeforeValidator(_empty_if_none)]] = Field(
        min_length=1
    )
    """reward models by name, each with the settings in which it differs from `train`"""
    policy: Annotated[PolicySettings, BeforeValidator(_empty_if_none)] = PolicySettings()
    """settings that all policies share"""
    policies: dict[Name, Annotated[NamedPolicy, BeforeValidator(_empty_if_none)]] = {}
    """language models trained against the reward models, by name, each with the settings in which
    it differs from `policy`; the target `policies` makes them (default: none)"""
    represent: RepresentSettings = RepresentSettings()
    """goal states"""
    evaluate: EvaluateSettings = EvaluateSettings()
    """scores"""
    goals: GoalsSettings | None = None
    """the filter with goal states of few, wrong or mixed examples; {} for the defaults (default:
    not measured, since it takes another pass over pairs and samples)"""
    generate: GenerateSettings | None = None
    """samples that are filtered while they are generated; {} for the defaults (default: none, since
    samples are generated anew for each reward model)"""
    metrics: MetricsSettings = MetricsSettings()
    """metrics and their intervals"""
    compare: CompareSettings = CompareSettings()
    """differences between variants"""
    report: ReportSettings = ReportSettings()
    """tables and figures"""
    track: TrackSettings = TrackSettings()
    """reports to wandb; no setting here retrains a model"""
    threads: dict[Computing, Count] = {}
    """CPU threads of a process of `pretrain`, `sample`, `train`, `represent`, `evaluate`, `goals`,
    `generate` or `policy` (default: 1 for each); results depend on them in their last digits"""
    gpus: dict[Computing, Gpus | None] = {}
    """GPUs of a job of the same stages, over all its nodes; 0 computes on the CPU (default: one for
    each process on a machine that has any, none on a cluster)"""
    processes: dict[Parallel, Count | None] = {}
    """processes of a job of `train`, `represent`, `evaluate` or `goals`, over all its nodes
    (default: one for each GPU, at least one)"""
    nodes: dict[Parallel, Count] = {}
    """nodes of a job of the same four stages, with equally many processes on each; several need
    Slurm (default: 1 for each)"""
    reproducible: bool | None = None
    """give the same bits on every x86-64 CPU that has AVX2; jobs then take no GPUs that `gpus` does
    not name, and are slower on CPUs with AVX-512 (default: in runs that make their base model)"""
    cost: CostSettings = CostSettings()
    """assumptions of the cost estimate; no result depends on them"""

    @model_validator(mode="before")
    @classmethod
    def _complete_variants(cls, given: Any) -> Any:
        """Lay each variant over what all share, so that it is checked as it will be used."""
        if not isinstance(given, Mapping):
            return given
        variants = _laid_over(given, "train", "variants")
        return {**given, **variants, **_laid_over(given, "policy", "policies")}
