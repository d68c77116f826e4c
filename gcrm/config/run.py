"""The config of a run, and what follows from it: which files the run makes or brings.

The rules only ask its methods. `gcrm.config.loading` makes a `Config` of what Snakemake read;
nothing here reads data or imports torch.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gcrm.config.base import Settings
from gcrm.config.download import Download, download_name
from gcrm.config.jobs import PARALLEL, Job
from gcrm.config.layout import (
    CHECKPOINT,
    FACTS,
    PAIRS,
    Split,
    completion_files,
    goal_state_file,
    place,
)
from gcrm.config.policy import RLOO_ONLY, NamedPolicy
from gcrm.config.sections import PATHS, Sections
from gcrm.config.track import TrackSettings
from gcrm.config.train import CONTRASTIVE_ONLY, TrainSettings
from gcrm.utils.paths import files_of

Given = TypeVar("Given", bound=Settings)
SPLITS: tuple[Split, ...] = ("greedy", "all")
"""of the solutions to a benchmark"""


def _with_defaults(settings: Given, names: Iterable[str]) -> Given:
    """The settings with the defaults of these names."""
    kept = settings.model_dump(exclude=set(names), exclude_unset=True)
    return type(settings)(**kept)


class Config(Sections):
    """A run: its data, its variants, and how each stage goes about it."""

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
        contrastive = settings.reward_model_strategy == "contrastive"
        return settings if contrastive else _with_defaults(settings, CONTRASTIVE_ONLY)

    def named_policy(self, name: str) -> NamedPolicy:
        """All settings of a policy; DPO keeps the defaults of RLOO_ONLY."""
        settings = self.policies[name]
        return settings if settings.method != "dpo" else _with_defaults(settings, RLOO_ONLY)

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

    # --- Policies.

    def policy_jobs(self) -> list[dict[str, object]]:
        """Name and seed of all policies."""
        return [{"policy": name, "seed": seed} for seed in self.seeds for name in self.policies]

    def policy_files(self, *names: str) -> list[Path]:
        """These files of all policies."""
        return [self.path("policy", one) / name for one in self.policy_jobs() for name in names]

    def policy_reward_model(self, wildcards: Mapping[str, str]) -> Path | None:
        """The reward model that a policy is trained against; none for DPO."""
        variant = self.policies[wildcards["policy"]].reward_model
        if variant is None:
            return None
        return self.path("train", {"variant": variant, "seed": wildcards["seed"]})

    def policy_reward_model_files(self, wildcards: Mapping[str, str]) -> list[Path]:
        """The files of that reward model."""
        folder = self.policy_reward_model(wildcards)
        return [] if folder is None else [folder / name for name in (*CHECKPOINT, FACTS)]

    def policy_problems(self, dev: bool) -> list[Path]:
        """The problems that policies solve: those of all benchmarks, or of their dev sets."""
        names = [f"dev-{name}" if dev else name for name in self.benchmarks]
        return [self.path("problems") / f"{name}.jsonl" for name in names]

    def base_solutions(self) -> list[Path]:
        """The base model's greedy solutions to all benchmarks."""
        return [file for name in self.benchmarks for file in self.completion_files(name, "greedy")]

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
        return goal_state_file(self.evaluate.goal_attribute)

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
