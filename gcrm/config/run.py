"""The config of a run: one typed tree, whose sections are the settings of the stages.

The methods say which files a run makes or brings; the rules only ask them. `gcrm.config.loading`
makes a `Config` of what Snakemake read; nothing here reads data or imports torch.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.compare import CompareSettings
from gcrm.config.cost import CostSettings
from gcrm.config.download import Download, download_name
from gcrm.config.evaluate import EvaluateSettings
from gcrm.config.generate import GenerateSettings
from gcrm.config.goals import GoalsSettings
from gcrm.config.jobs import PARALLEL, Computing, Count, Gpus, Job, Parallel
from gcrm.config.layout import CHECKPOINT, PAIRS, Split, completion_files, place
from gcrm.config.metrics import MetricsSettings
from gcrm.config.pair import PairSettings
from gcrm.config.policy import NamedPolicy, PolicySettings
from gcrm.config.prepare import PrepareSettings
from gcrm.config.pretrain import PretrainSettings
from gcrm.config.report import ReportSettings
from gcrm.config.represent import RepresentSettings
from gcrm.config.sample import SampleSettings
from gcrm.config.track import TrackSettings
from gcrm.config.train import CONTRASTIVE_ONLY, TrainSettings
from gcrm.config.types import Name, Seed, Source, Unique
from gcrm.utils.paths import files_of

Sources = Annotated[list[Source], Field(min_length=1), Unique]

SPLITS: tuple[Split, ...] = ("greedy", "all")
"""of the solutions to a benchmark"""
PATHS = ("base_model", "preferences", "completions")
"""keys that name what a run brings; what is not given is made"""
WITH_VARIABLES = (*PATHS, "heldout", "chat_template")
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


class Config(Settings):
    """A run: its data, its variants, and how each stage goes about it."""

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

    # --- What is made, and what is brought.

    @property
    def made(self) -> list[str]:
        """Keys of PATHS that the run makes itself; completions only where there are benchmarks."""
        needed = PATHS if self.benchmarks else [key for key in PATHS if key != "completions"]
        return [key for key in needed if getattr(self, key) is None]

    @property
    def is_reproducible(self) -> bool:
        """Whether the run gives the same bits on every x86-64 CPU that has AVX2."""
        return "base_model" in self.made if self.reproducible is None else self.reproducible

    def used_downloads(self) -> dict[str, Download]:
        """The downloads that the run needs, by name."""
        sources = [*(self.preferences or []), *self.heldout.values(), self.completions]
        named = {download_name(source) for source in sources}
        return {name: entry for name, entry in self.downloads.items() if name in named}

    def fetched_files(self) -> list[Path]:
        """The files that `prepare` makes of its downloads."""
        sources = [*(self.preferences or []), *self.heldout.values()]
        pairs = {self.local(source): None for source in sources if download_name(source)}
        completions = self.all_completion_files() if download_name(self.completions) else []
        return [*map(Path, pairs), *completions]

    def checked_files(self) -> list[Path]:
        """The files that `prepare` reads; it does not check what the run makes or fetches."""
        files = [*self.heldout_files(), *self._template_files()]
        if not self.made:
            files += [*self.preference_files(), *self.all_completion_files()]
        fetched = self.fetched_files()
        return [file for file in files if file not in fetched]

    def base_model_source(self) -> str:
        """The base model as the stages name it."""
        return self.base_model or str(self.path("pretrain"))

    def base_model_files(self) -> list[Path]:
        """The files of the base model, none of a hub id, and of the chat template given for it."""
        if self.base_model:
            return [*files_of(self.base_model), *self._template_files()]
        return [self.path("pretrain") / name for name in CHECKPOINT]

    def _template_files(self) -> list[Path]:
        return [] if self.chat_template is None else [self.chat_template]

    def preference_sources(self) -> list[str]:
        """The preference data as the stages name them: brought, downloaded or made."""
        if self.preferences is None:
            return [str(self.path("pair"))]
        return [self.local(source) for source in self.preferences]

    def preference_files(self) -> list[Path]:
        """The files of the preference data; none of a hub id."""
        return [file for source in self.preference_sources() for file in files_of(source)]

    def heldout_sources(self) -> list[str]:
        """The held-out preference data as the stages name them, in the order of the config."""
        return [self.local(source) for source in self.heldout.values()]

    def heldout_files(self) -> list[Path]:
        """The files of the held-out preference data; none of a hub id."""
        return [file for source in self.heldout_sources() for file in files_of(source)]

    def local(self, source: str) -> str:
        """A source of preference data as the stages name it; the file that a download becomes."""
        name = download_name(source)
        return source if name is None else str(self.path("preferences", {"name": name}))

    # --- Variants and their jobs.

    def variant(self, name: str) -> TrainSettings:
        """All settings of a variant; a vanilla one keeps the defaults of CONTRASTIVE_ONLY.

        So a shared `contrastive_loss_beta` neither reaches nor retrains a vanilla model.
        """
        settings = self.variants[name]
        if settings.reward_model_strategy == "contrastive":
            return settings
        kept = settings.model_dump(exclude=set(CONTRASTIVE_ONLY), exclude_unset=True)
        return TrainSettings(**kept)

    def tracking(self) -> TrackSettings:
        """What jobs report to wandb as; each job adds its variant and seed to the name."""
        named = {
            "wandb_group": self.track.wandb_group or self.run,
            "wandb_run_name": self.track.wandb_run_name or self.run,
        }
        return self.track.model_copy(update=named)

    def models(self, seed: int | None = None) -> list[dict[str, object]]:
        """Variant and seed of all reward models, or of those of one seed."""
        seeds = self.seeds if seed is None else [seed]
        return [{"variant": variant, "seed": one} for variant in self.variants for one in seeds]

    def job(self, stage: str) -> Job:
        """What a job of a stage that computes with torch takes."""
        key: Any = stage
        gpus = self.gpus.get(key, 0 if self.is_reproducible else None)
        processes = self.processes.get(key) or max(1, gpus or 0)
        return Job(
            processes=processes if stage in PARALLEL else 1,
            nodes=self.nodes.get(key, 1),
            threads=self.threads.get(key, 1),
            gpus=gpus,
        )

    # --- Problems and solutions.

    def solver_files(self) -> list[Path]:
        """The files of what solves made problems: the base model, or none of a program."""
        by_program = self.sample is not None and self.sample.error_rate is not None
        return [] if by_program else self.base_model_files()

    def problem_sets(self) -> list[str]:
        """Names of the problem sets that `prepare` makes; none if the run makes nothing."""
        if self.prepare is None:
            return []
        families = [f"preference-{family}" for family in self.prepare.preference_families]
        return ["pretrain", *families, *self.benchmarks, *(f"dev-{b}" for b in self.benchmarks)]

    def problem_files(self) -> list[Path]:
        """The files of the problem sets that `prepare` makes."""
        return [self.path("problems") / f"{name}.jsonl" for name in self.problem_sets()]

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

    def completions_folder(self) -> Path:
        """Where the solutions to the benchmarks lie: brought, downloaded, or drawn by the run."""
        if self.completions is None or download_name(self.completions):
            return self.path("completions")
        return Path(self.completions)

    def completion_files(self, problem_set: str, split: Split) -> list[Path]:
        """The files of solutions that make a split of a set; empty where there are none."""
        if self.completions is not None and not download_name(self.completions):
            return completion_files(Path(self.completions), problem_set, split)
        return self._own_files(problem_set, split)

    def _own_files(self, problem_set: str, split: Split) -> list[Path]:
        numbers = range(self.samples(problem_set))
        names = ["greedy"] if split == "greedy" else [f"rs{k}" for k in numbers]
        return [self.path("completions") / problem_set / f"output-{name}.jsonl" for name in names]

    def all_completion_files(self) -> list[Path]:
        """The files of solutions of all benchmarks."""
        found = [(name, split) for name in self.benchmarks for split in self.splits(name)]
        return [file for name, split in found for file in self.completion_files(name, split)]

    def paired_files(self) -> list[Path]:
        """The files of solutions that `pair` makes preference pairs of."""
        names = [name for name in self.problem_sets() if name.startswith("preference-")]
        return [file for name in names for split in SPLITS for file in self._own_files(name, split)]

    # --- What is evaluated.

    def scored_sets(self) -> list[str]:
        """The benchmarks and, where they are made, their dev sets.

        Settings are chosen on the dev sets; they are made on request and not reported.
        """
        made = self.prepare is not None and self.completions is None
        return [*self.benchmarks, *(f"dev-{name}" for name in self.benchmarks if made)]

    def splits(self, benchmark: str) -> list[Split]:
        """The splits of solutions to a benchmark: greedy, and all where there are samples."""
        return ["greedy", "all"] if self.completion_files(benchmark, "all") else ["greedy"]

    def scored_splits(self, name: str) -> list[str]:
        """The splits of a benchmark or of a held-out set, the one of AUROC first."""
        return [PAIRS] if name in self.heldout else [*self.splits(name)]

    def scored_files(self, name: str, split: str) -> list[Path]:
        """The files that scores of a split depend on."""
        if name in self.heldout:
            return files_of(self.local(self.heldout[name]))
        return self._read_files(name, split, self.evaluate.max_problems)

    def goal_samples(self) -> list[Path]:
        """The files of the samples that goal states filter."""
        most = None if self.goals is None else self.goals.max_problems
        return [file for name in self.sampled() for file in self._read_files(name, "all", most)]

    def _read_files(self, benchmark: str, split: str, most: int | None) -> list[Path]:
        """The files of a split; with a cap on the problems, also those of the other split."""
        wanted = [one for one in SPLITS if most is not None or one == split]
        return [file for one in wanted for file in self.completion_files(benchmark, one)]

    def sampled(self) -> list[str]:
        """The benchmarks with samples."""
        return [name for name in self.benchmarks if "all" in self.splits(name)]

    def goals_files(self) -> list[Path]:
        """The measurements of goal states of all models; none if they are not asked for."""
        return [] if self.goals is None else [self.path("goals", model) for model in self.models()]

    def generated(self) -> list[str]:
        """The benchmarks for which samples are filtered while they are generated."""
        if self.generate is None:
            return []
        return self.generate.benchmarks or self.sampled()

    def generate_folders(self) -> list[Path]:
        """The folders of samples that were filtered so, of all models; none if not asked for."""
        names = self.generated()
        return [
            self.path("generate", {**model, "benchmark": name})
            for model in self.models()
            for name in names
        ]

    def problems_of(self, benchmark: str) -> Path:
        """A file with the questions and answers of a benchmark: made, or in its solutions."""
        if self.prepare is not None:
            return self.path("problems") / f"{benchmark}.jsonl"
        return self.completion_files(benchmark, "greedy")[0]

    def goal_state_name(self) -> str:
        """The file among a model's goal states that gives the Q-values."""
        name = self.evaluate.goal_attribute
        return "goal_state.npy" if name is None else f"goal_state-{name}.npy"

    @property
    def compares(self) -> bool:
        """Whether there are variants to compare, or seeds for intervals to take in."""
        return len(self.variants) > 1 or len(self.seeds) > 1

    # --- Where the files of the run lie.

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path("results") / self.run

    def path(self, what: str, wildcards: Mapping[str, object] | None = None) -> Path:
        """The path of a result or folder of the run; see `gcrm.config.layout.place`."""
        return place(self.folder, what, wildcards)

    def measured_files(self, wildcards: Mapping[str, str]) -> list[Path]:
        """The scores of a model on all splits of a benchmark or held-out set."""
        splits = self.scored_splits(wildcards["benchmark"])
        return [self.path("evaluate", {**wildcards, "split": split}) for split in splits]

    def compared_files(self, name: str) -> list[Path]:
        """The scores of all models on all splits of a benchmark or held-out set."""
        splits = self.scored_splits(name)
        return [file for split in splits for file in self.score_files(name, split)]

    def score_files(self, name: str, split: str) -> list[Path]:
        """The scores of all variants and seeds; none where the benchmark has no such split."""
        if split not in self.scored_splits(name):
            return []
        where = {"benchmark": name, "split": split}
        return [self.path("evaluate", {**model, **where}) for model in self.models()]

    def model_files(self, names: Iterable[str], seed: int | None = None) -> list[Path]:
        """Files of all reward models, or of those of one seed."""
        folders = [self.path("train", model) for model in self.models(seed)]
        return [folder / name for folder in folders for name in names]

    def metrics_files(self) -> list[Path]:
        """The metrics of all models on all benchmarks and held-out sets."""
        names = [*self.benchmarks, *self.heldout]
        models = self.models()
        return [
            self.path("metrics", {**one, "benchmark": name}) for one in models for name in names
        ]

    def comparison_files(self) -> list[Path]:
        """The comparisons of all benchmarks and held-out sets; none if nothing is compared."""
        names = [*self.benchmarks, *self.heldout] if self.compares else []
        return [self.path("compare", {"benchmark": name}) for name in names]
