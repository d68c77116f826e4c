"""What the policies of a run read and make, as `gcrm.config.run` says it of the reward models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gcrm.config.layout import CHECKPOINT
from gcrm.config.policy import RLOO_ONLY, NamedPolicy
from gcrm.config.run import Config

Wildcards = Mapping[str, str]


@dataclass(frozen=True)
class PolicyFiles:
    """The policies of a run: their settings, and their files."""

    config: Config

    def named(self, name: str) -> NamedPolicy:
        """All settings of a policy; DPO keeps the defaults of what only RLOO has."""
        settings = self.config.policies[name]
        if settings.method != "dpo":
            return settings
        return NamedPolicy(**settings.model_dump(exclude=set(RLOO_ONLY), exclude_unset=True))

    def jobs(self) -> list[dict[str, object]]:
        """Name and seed of all policies."""
        names, seeds = self.config.policies, self.config.seeds
        return [{"policy": name, "seed": seed} for seed in seeds for name in names]

    def made(self, *names: str) -> list[Path]:
        """These files of all policies."""
        return [self.config.path("policy", one) / name for one in self.jobs() for name in names]

    def reward_model(self, wildcards: Wildcards) -> Path | None:
        """The reward model of a policy; none for DPO."""
        variant = self.config.policies[wildcards["policy"]].reward_model
        if variant is None:
            return None
        return self.config.path("train", {"variant": variant, "seed": wildcards["seed"]})

    def reward_model_files(self, wildcards: Wildcards) -> list[Path]:
        """The files of a policy's reward model."""
        folder = self.reward_model(wildcards)
        names = () if folder is None else (*CHECKPOINT, "reward_model.json")
        return [folder / name for name in names if folder is not None]

    def problems(self, dev: bool) -> list[Path]:
        """The problems that policies solve: those of all benchmarks, or of their dev sets."""
        names = [f"dev-{name}" if dev else name for name in self.config.benchmarks]
        return [self.config.path("problems") / f"{name}.jsonl" for name in names]

    def base_solutions(self) -> list[Path]:
        """The base model's greedy solutions to all benchmarks."""
        config = self.config
        return [
            file for name in config.benchmarks for file in config.completion_files(name, "greedy")
        ]
