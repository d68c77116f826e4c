"""The config of a run: one typed tree, whose sections are the settings of the stages.

The methods say which files a run makes or brings; the rules only ask them. `gcrm.config.loading`
makes a `Config` of what Snakemake read; nothing here reads data or imports torch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.compare import CompareSettings
from gcrm.config.cost import CostSettings
from gcrm.config.download import Download, download_name
from gcrm.config.evaluate import EvaluateSettings
from gcrm.config.jobs import Job, StageGpus, StageNodes, StageProcesses, StageThreads
from gcrm.config.layout import Split, completion_files
from gcrm.config.metrics import MetricsSettings, StatisticsSettings
from gcrm.config.pair import PairSettings
from gcrm.config.prepare import PrepareSettings
from gcrm.config.pretrain import PretrainSettings
from gcrm.config.report import ReportSettings
from gcrm.config.represent import RepresentSettings
from gcrm.config.sample import SampleSettings
from gcrm.config.track import TrackSettings
from gcrm.config.train import CONTRASTIVE_ONLY, TrainSettings
from gcrm.config.types import Name, Seed, Source, Unique

Sources = Annotated[list[Source], Field(min_length=1), Unique]

PATHS = ("base_model", "preferences", "completions")
"""keys that name what a run brings; what is not given is made"""
WITH_VARIABLES = (*PATHS, "heldout")
"""keys in whose paths ${VAR} is the environment's"""
MAKING = {
    "prepare": PATHS,
    "pretrain": ("base_model",),
    "sample": ("preferences", "completions"),
    "pair": ("preferences",),
}
"""section that makes something: what it is for; it is needed where one of these is not given"""


def as_list(value: Any) -> Any:
    """A single source as a list of one."""
    return [value] if isinstance(value, str) else value


def _empty_if_none(value: Any) -> Any:
    return {} if value is None else value  # YAML: a key with nothing behind it


class Config(Settings):
    """A run: its data, its variants, and how each stage goes about it."""

    run: Name
    """name of the run; everything goes into results/<run>/"""
    seeds: Annotated[list[Seed], Field(min_length=1), Unique] = [0]
    """seeds of the reward models: each variant is trained with each"""
    data_seed: Seed = 0
    """seed of made problems, base model, solutions and pairs"""
    benchmarks: Annotated[list[Name], Unique] = []
    """benchmarks to evaluate on"""
    heldout: dict[Name, Source] = {}
    """held-out preference data to evaluate on, by name: .jsonl, .parquet, folder, hub id or
    download:<name>"""

    base_model: Source | None = None
    """base model: hub id, folder or .gguf file; none: `pretrain` makes one"""
    preferences: Annotated[Sources | None, BeforeValidator(as_list)] = None
    """preference data: .jsonl or .parquet, `datasets` folder, hub id or download:<name>; none:
    `pair` makes them"""
    dataset_probs: list[float] | None = None
    """share of each of several preference data sets in the mixture, adding to 1 (default: all)"""
    completions: Source | None = None
    """folder with <benchmark>/output-greedy.jsonl, output-rs<k>.jsonl, or download:<name>; none:
    `sample` draws them"""
    downloads: dict[Name, Download] = {}
    """what `prepare` can fetch, by name; what no download:<name> names is not fetched"""

    prepare: PrepareSettings | None = None
    """made problems; only in a run that makes something"""
    pretrain: PretrainSettings | None = None
    """the made base model; only without base_model"""
    sample: SampleSettings | None = None
    """drawn solutions; only without preferences or without completions"""
    pair: PairSettings | None = None
    """made preference pairs; only without preferences"""

    train: Annotated[TrainSettings, BeforeValidator(_empty_if_none)] = TrainSettings()
    """what all variants share"""
    variants: dict[Name, Annotated[TrainSettings, BeforeValidator(_empty_if_none)]] = Field(
        min_length=1
    )
    """reward models by name, each with what differs from `train`"""
    represent: RepresentSettings = RepresentSettings()
    """goal states"""
    evaluate: EvaluateSettings = EvaluateSettings()
    """scores"""
    metrics: MetricsSettings = MetricsSettings()
    """numbers"""
    compare: CompareSettings = CompareSettings()
    """differences of variants"""
    report: ReportSettings = ReportSettings()
    """tables and figures"""
    track: TrackSettings = TrackSettings()
    """reports to wandb; they retrain nothing"""
    threads: StageThreads = StageThreads()
    """CPU threads a process"""
    gpus: StageGpus = StageGpus()
    """GPUs a job"""
    processes: StageProcesses = StageProcesses()
    """processes a job"""
    nodes: StageNodes = StageNodes()
    """nodes a job"""
    cost: CostSettings = CostSettings()
    """what the estimate of cost assumes; nothing else depends on it"""

    @model_validator(mode="before")
    @classmethod
    def _complete_variants(cls, given: Any) -> Any:
        """Lay each variant over what all share, so that it is checked as it will be used."""
        if not isinstance(given, Mapping) or not isinstance(given.get("variants"), Mapping):
            return given
        shared = given.get("train") or {}
        if not isinstance(shared, Mapping):
            return given
        variants = {
            name: {**shared, **(own or {})} if isinstance(own, Mapping | None) else own
            for name, own in given["variants"].items()
        }
        return {**given, "variants": variants}

    @property
    def folder(self) -> Path:
        """Where everything of the run lies."""
        return Path("results") / self.run

    @property
    def made(self) -> list[str]:
        """What the run makes, of base_model, preferences and completions (of benchmarks)."""
        needed = PATHS if self.benchmarks else [key for key in PATHS if key != "completions"]
        return [key for key in needed if getattr(self, key) is None]

    def used_downloads(self) -> dict[str, Download]:
        """The downloads that the run needs, by name."""
        sources = [*(self.preferences or []), *self.heldout.values(), self.completions]
        named = {download_name(source) for source in sources}
        return {name: entry for name, entry in self.downloads.items() if name in named}

    def fetched_files(self) -> list[Path]:
        """The files that `prepare` makes of what it downloads."""
        sources = [*(self.preferences or []), *self.heldout.values()]
        pairs = {self.local(source): None for source in sources if download_name(source)}
        completions = self.all_completion_files() if download_name(self.completions) else []
        return [*map(Path, pairs), *completions]

    def local(self, source: str) -> str:
        """A source of preference data as the stages name it; of a download, the file made of it."""
        name = download_name(source)
        return source if name is None else str(self.folder / "preferences" / f"{name}.jsonl")

    def preference_sources(self) -> list[str]:
        """The preference data as the stages name them: brought, downloaded or made."""
        if self.preferences is None:
            return [str(self.folder / "preferences" / "pairs.jsonl")]
        return [self.local(source) for source in self.preferences]

    def variant(self, name: str) -> TrainSettings:
        """All settings of a variant; what the vanilla objective does not use keeps its default.

        A shared `contrastive_loss_beta`, say, neither reaches nor retrains a vanilla model.
        """
        settings = self.variants[name]
        if settings.reward_model_strategy == "contrastive":
            return settings
        kept = settings.model_dump(exclude=set(CONTRASTIVE_ONLY), exclude_unset=True)
        return TrainSettings(**kept)

    @property
    def compares(self) -> bool:
        """Whether there are variants to compare, or seeds for intervals to take in."""
        return len(self.variants) > 1 or len(self.seeds) > 1

    def tracking(self) -> TrackSettings:
        """What jobs report to wandb as; the name is completed with variant and seed."""
        named = {
            "wandb_group": self.track.wandb_group or self.run,
            "wandb_run_name": self.track.wandb_run_name or self.run,
        }
        return self.track.model_copy(update=named)

    def statistics(self) -> dict[str, Any]:
        """The settings of `metrics` that `compare` shares, those that are not the defaults."""
        shared = set(StatisticsSettings.model_fields)
        return self.metrics.model_dump(mode="json", exclude_defaults=True, include=shared)

    def job(self, stage: str) -> Job:
        """What a job of a stage that computes with torch takes."""
        gpus: int | None = getattr(self.gpus, stage)
        return Job(
            processes=getattr(self.processes, stage, 1) or max(1, gpus or 0),
            nodes=getattr(self.nodes, stage, 1),
            threads=getattr(self.threads, stage),
            gpus=gpus,
        )

    def scored_sets(self) -> list[str]:
        """What can be scored: the benchmarks and, where they are made, their dev sets.

        Settings are chosen on the dev sets; no report shows them, and they are made when asked for.
        """
        made = self.prepare is not None and self.completions is None
        return [*self.benchmarks, *(f"dev-{name}" for name in self.benchmarks if made)]

    def heldout_sources(self) -> list[str]:
        """The held-out preference data as the stages name them, in the order of the config."""
        return [self.local(source) for source in self.heldout.values()]

    def problem_sets(self) -> list[str]:
        """Names of the problem sets that `prepare` makes; none if the run makes nothing."""
        if self.prepare is None:
            return []
        families = [f"preference-{family}" for family in self.prepare.preference_families]
        return ["pretrain", *families, *self.benchmarks, *(f"dev-{b}" for b in self.benchmarks)]

    def samples(self, problem_set: str) -> int:
        """Samples of each problem of a set, drawn or downloaded, beside the greedy solution."""
        if name := download_name(self.completions):
            return self.downloads[name].samples.get(problem_set, 0)
        if self.sample is None:
            return 0
        numbers = self.sample.num_samples
        if problem_set.startswith("preference-"):
            return numbers.get("preference", 0)
        return numbers.get(problem_set, numbers.get(problem_set.removeprefix("dev-"), 0))

    def goal_state_name(self) -> str:
        """The file among a model's goal states by which `evaluate` gives Q-values."""
        name = self.evaluate.goal_attribute
        return "goal_state.npy" if name is None else f"goal_state-{name}.npy"

    def completions_folder(self) -> Path:
        """Where the solutions to the benchmarks lie: brought, downloaded, or drawn by the run."""
        if self.completions is None or download_name(self.completions):
            return self.folder / "completions"
        return Path(self.completions)

    def completion_files(self, benchmark: str, split: Split) -> list[Path]:
        """The files of solutions that make a split of a benchmark; empty where there are none."""
        if self.completions is not None and not download_name(self.completions):
            return completion_files(Path(self.completions), benchmark, split)
        names = ["greedy"] if split == "greedy" else self.sample_names(benchmark)
        return [self.completions_folder() / benchmark / f"output-{name}.jsonl" for name in names]

    def all_completion_files(self) -> list[Path]:
        """The files of solutions of all benchmarks."""
        return [
            file
            for benchmark in self.benchmarks
            for split in self.splits(benchmark)
            for file in self.completion_files(benchmark, split)
        ]

    def scored_from(self, benchmark: str, split: Split) -> list[Path]:
        """The files that scores of a split depend on: with a cap, also on the other's questions."""
        splits: list[Split] = [split]
        if self.evaluate.max_problems is not None:
            splits = ["greedy", "all"]
        return [file for one in splits for file in self.completion_files(benchmark, one)]

    def sample_names(self, problem_set: str) -> list[str]:
        """The files of samples of a set of problems, as in output-<name>.jsonl."""
        return [f"rs{k}" for k in range(self.samples(problem_set))]

    def splits(self, benchmark: str) -> list[Split]:
        """What is scored of a benchmark: greedy, and all (the samples) where there are several."""
        return ["greedy", "all"] if self.completion_files(benchmark, "all") else ["greedy"]


if __name__ == "__main__":  # the JSON schema, by which editors check and complete a config
    print(json.dumps(Config.model_json_schema(), indent=2))
