from pathlib import Path

import pytest
import yaml

from gcrm.config.loading import load
from gcrm.config.train import CONTRASTIVE_ONLY, SET_BY_PARITY, TrainSettings
from gcrm.utils.errors import UserError
from gcrm.utils.paths import files_of
from helpers.configs import FETCHED, OWN
from helpers.workflow_runs import ROOT, SMALL


def test_a_variant_is_the_shared_settings_with_its_own_above() -> None:
    config = load(SMALL | {"train": {"max_len": 99, "train_batch_size": 8}}, "my.yaml")
    assert config.variant("contrastive").max_len == 99
    assert config.variant("contrastive").contrastive_loss_beta == 0.5
    assert config.variant("vanilla").reward_model_strategy == "vanilla"


def test_held_out_preferences_can_be_the_only_evaluation() -> None:
    heldout = {"hh": "${DATA}/hh.jsonl"}
    own = {key: value for key, value in OWN.items() if key not in ("benchmarks", "completions")}
    config = load(own | {"heldout": heldout}, "my.yaml", {"DATA": "/d"})
    assert config.heldout == {"hh": "/d/hh.jsonl"}
    assert (config.made, config.scored_sets(), config.benchmarks) == ([], [], [])
    with pytest.raises(
        UserError, match=r"heldout\.hh: .* DATA is not set; .*--config heldout='{hh: "
    ):
        load(own | {"heldout": heldout}, "my.yaml", {})
    made = load(SMALL | {"benchmarks": [], "sample": {}, "heldout": {"hh": "a/b"}}, "my.yaml")
    assert made.made == ["base_model", "preferences"]
    assert made.problem_sets() == ["pretrain", "preference-gsm8k"]


def test_a_shared_beta_reaches_the_contrastive_variant_alone() -> None:
    shared = {"train_batch_size": 8, "contrastive_loss_beta": 0.9, "unsim_samples": 4}
    config = load(
        SMALL
        | {
            "train": shared,
            "variants": {"vanilla": {}, "contrastive": {"reward_model_strategy": "contrastive"}},
        },
        "my.yaml",
    )
    assert config.variant("contrastive").contrastive_loss_beta == 0.9
    assert config.variant("vanilla") == TrainSettings(train_batch_size=8)


def test_the_contrastive_settings_exist() -> None:
    assert set(CONTRASTIVE_ONLY) <= TrainSettings.model_fields.keys()
    assert set(SET_BY_PARITY) <= TrainSettings.model_fields.keys()


def test_files_of_a_run_that_makes_its_data() -> None:
    config = load(SMALL, "my.yaml")
    assert config.problem_sets() == [
        *("pretrain", "preference-gsm8k", "gsm8k", "svamp", "dev-gsm8k", "dev-svamp"),
    ]
    assert [config.samples(name) for name in config.problem_sets()] == [0, 3, 2, 0, 2, 0]
    assert config.splits("gsm8k") == ["greedy", "all"]
    assert config.splits("svamp") == ["greedy"]
    home = Path("results/small/completions/gsm8k")
    assert config.completion_files("gsm8k", "all") == [
        home / "output-rs0.jsonl",
        home / "output-rs1.jsonl",
    ]


def test_files_of_a_run_that_brings_its_data(tmp_path: Path) -> None:
    home = tmp_path / "gsm8k"
    home.mkdir()
    for name in ("greedy", "rs10", "rs2"):
        (home / f"output-{name}.jsonl").write_text("{}")
    config = load(OWN | {"completions": str(tmp_path)}, "my.yaml")
    assert [file.name for file in config.completion_files("gsm8k", "all")] == [
        *("output-rs2.jsonl", "output-rs10.jsonl"),
    ]
    assert config.problem_sets() == []


def test_with_a_cap_scores_depend_on_the_questions_of_both_splits() -> None:
    capped = load(SMALL | {"evaluate": {"max_problems": 3}}, "my.yaml")
    whole = load(SMALL, "my.yaml")
    both = [*whole.completion_files("gsm8k", "greedy"), *whole.completion_files("gsm8k", "all")]
    for split in ("greedy", "all"):
        assert capped.scored_files("gsm8k", split) == both
        assert whole.scored_files("gsm8k", split) == whole.completion_files("gsm8k", split)
    assert capped.scored_files("svamp", "greedy") == whole.completion_files("svamp", "greedy")


# --- data that a run downloads ----------------------------------------------------------------


def test_downloaded_files_are_known_before_they_are_there() -> None:
    config = load(FETCHED, "my.yaml")
    home = Path("results/own")
    assert config.made == []
    assert list(config.used_downloads()) == ["pairs", "test", "predictions"]
    assert config.preference_sources() == [str(home / "preferences/pairs.jsonl"), "mine.jsonl"]
    assert config.heldout_sources() == [str(home / "preferences/test.jsonl")]
    assert config.splits("gsm8k") == ["greedy", "all"]
    assert config.splits("simuleq") == ["greedy"]
    completions = [
        home / "completions" / name
        for name in (
            *("gsm8k/output-greedy.jsonl", "gsm8k/output-rs0.jsonl", "gsm8k/output-rs1.jsonl"),
            "simuleq/output-greedy.jsonl",
        )
    ]
    assert config.all_completion_files() == completions
    pairs = [home / "preferences/pairs.jsonl", home / "preferences/test.jsonl"]
    assert config.fetched_files() == [*pairs, *completions]


# --- data that a run brings ------------------------------------------------------------------


def test_hub_ids_have_no_files_and_folders_have_theirs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in ("b", "a", "sub/c", ".cache/d"):
        (tmp_path / name).write_text("")
    assert files_of("owner/model") == []
    assert files_of(str(tmp_path)) == [tmp_path / "a", tmp_path / "b", tmp_path / "sub" / "c"]
    assert files_of("owner/pairs.jsonl") == [Path("owner/pairs.jsonl")]


# --- the configs of the project ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["config", "examples/smollm2", "examples/hh", "paper/paper", "paper/paper-hh"]
)
def test_the_projects_configs_are_valid(name: str) -> None:
    path = ROOT / "config" / f"{name}.yaml"
    environment = {"GCRM_BASE_MODEL": "model.gguf", "GCRM_DATA": "data"}
    config = load(yaml.safe_load(path.read_text()), path.name, environment)
    assert set(config.variants) == {"vanilla", "contrastive"}
    assert config.variant("contrastive").contrastive_loss_beta == 0.5


def test_the_ablations_are_the_papers_and_their_data_are_tinys() -> None:
    """So that its variants differ from tiny's in their objective alone."""
    given_ = yaml.safe_load((ROOT / "config" / "examples" / "ablations.yaml").read_text())
    tiny = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    data = ("data_seed", "benchmarks", "prepare", "pretrain", "sample", "pair", "train")
    assert {key: given_.get(key) for key in data} == {key: tiny.get(key) for key in data}
    config = load(given_, "ablations.yaml")
    variants = [config.variant(name) for name in config.variants]
    assert len({variant.model_dump_json() for variant in variants}) == len(variants)
    for field, values in {
        "contrastive_strategy": {"sgs", "rs", "avg", "completion_avg", "single_goal"},
        "contrastive_mean": {"pair", "batch"},
        "contrastive_loss_beta": {0.1, 0.5, 0.9},
        "goal_late_share": {0.1, 1},
        "source_late_share": {0.1, 1},
        "value_head_strategy": {"linear", "mlp", "mlp_wide"},
        "parity": {"none", "official"},
    }.items():
        assert {getattr(variant, field) for variant in variants} == values, field
