"""Options of `prepare`: the made problems of a synthetic run, or the checks of real data."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from gcrm.config.base import Settings, from_json
from gcrm.config.download import Download
from gcrm.config.types import Name, OutputFile, OutputFolder, OutputParent, Seed, Source, Unique

BENCHMARKS = ("gsm8k", "math", "gsm-hard", "mawps", "asdiv", "algebra222", "svamp")
"""families of made word problems that stand in for the paper's benchmarks"""
FAMILIES = (*BENCHMARKS, "chain")
"""families of made word problems; `gcrm.synthetic` has a generator for each"""
LONGEST_CHAIN = 12
"""steps of a `chain` that fit into the context of the made base model"""


class PrepareSettings(Settings):
    """How many problems of each kind are made (only for runs that make their own data)."""

    pretrain_problems: int = Field(32_000, gt=0)
    """problems with worked solutions that the base model is trained on, over its families"""
    pretrain_families: Annotated[list[str], Field(min_length=1), Unique] = list(BENCHMARKS)
    """families of the problems that the base model is trained on"""
    preference_problems: int = Field(1_500, gt=0)
    """problems of each family whose sampled solutions become preference pairs"""
    benchmark_problems: int = Field(300, gt=0)
    """problems of each benchmark"""
    dev_problems: int = Field(200, gt=0)
    """problems of each development set, on which settings are chosen"""
    preference_families: list[str] = Field(["gsm8k", "math"], min_length=1)
    """families that preference pairs are made from; the other families are out of distribution"""
    chain_steps: int = Field(6, ge=1, le=LONGEST_CHAIN)
    """steps of the problems of the family `chain`, each a sum or a difference; those of `pretrain`
    have 1 to 12"""
    rare_words: float = Field(0.5, ge=0, le=1)
    """share of rare words among the words for operations, 0 to 1, in all sets but `pretrain`"""
    pretrain_rare_words: float = Field(0.003, ge=0, le=1)
    """the same share in `pretrain`; a low one makes the base model err on problems with rare
    words"""


class PrepareOptions(PrepareSettings):
    """Make word problems of seven families, or check real data before hours are spent on it.

    With --problems_dir, makes the problem sets there. With --dataset and --completions_data_path,
    reads both whole, refuses broken rows, and reports the questions that they share. With
    --heldout, does so for held-out preference data and the prompts of training data. With
    --downloads, fetches and converts data first.
    """

    benchmarks: Annotated[list[Name], Unique]
    """names of the benchmarks"""
    problems_dir: OutputFolder | None = None
    """folder for the made problems: <set>.jsonl"""
    dataset: list[Source] = []
    """preference data to check"""
    completions_data_path: Path | None = None
    """folder of completions to check: <benchmark>/output-greedy.jsonl, output-rs<k>.jsonl"""
    heldout: list[Source] = []
    """held-out preference data to check"""
    base_model: Source | None = None
    """what reward models will be made from: its tokenizer tells which questions are too long
    (default: not looked at)"""
    chat_template: Path | None = None
    """Jinja file with a chat template for the base model (default: the base model's own, or, where
    it has none, one with the names of the roles)"""
    max_len: int = Field(2048, gt=0)
    """longest question with solution, in tokens, that `evaluate` will take whole"""
    max_problems: int | None = Field(None, gt=0)
    """cap on the problems of a benchmark that `evaluate` will take (default: all)"""
    downloads: Annotated[dict[Name, Download], BeforeValidator(from_json)] = {}
    """what to fetch, as JSON: entries of the config's downloads by name (default: nothing)"""
    download_dir: OutputParent | None = None
    """folder for what is fetched; it stays there, so that nothing is fetched twice"""
    preferences_dir: OutputParent | None = None
    """folder for the fetched preference pairs: <name>.jsonl, which dataset and heldout may name"""
    report: OutputFile | None = None
    """JSON file for what was found: sizes, shared questions"""
    data_seed: Seed = 0
    """seed of the made problems"""

    @model_validator(mode="after")
    def _something_to_do(self) -> "PrepareOptions":
        given = bool(self.dataset or self.downloads) or self.completions_data_path is not None
        making = self.problems_dir is not None
        if (given and making) or not (given or making or self.heldout):
            raise ValueError(
                "give either --problems_dir, or --dataset and/or --completions_data_path"
            )
        return self

    @model_validator(mode="after")
    def _room_for_downloads(self) -> "PrepareOptions":
        formats = [download.format for download in self.downloads.values()]
        if self.downloads and self.download_dir is None:
            raise ValueError("--downloads needs --download_dir")
        if formats.count("completions") > 1:
            raise ValueError("--downloads may hold completions once")
        if "completions" in formats and self.completions_data_path is None:
            raise ValueError("--downloads of completions needs --completions_data_path")
        if set(formats) - {"completions"} and self.preferences_dir is None:
            raise ValueError("--downloads of preference pairs needs --preferences_dir")
        return self
