"""Which jobs a changed config concerns: what Snakemake compares of each is its params."""

from typing import Any

import pytest

from gcrm.config.base import flags
from gcrm.config.loading import load
from gcrm.config.options import options
from gcrm.lineage.fingerprint import closure
from gcrm.lineage.rules import Rules
from helpers.jobs import jobs_of, params_of
from helpers.workflow_runs import SMALL

OWN: dict[str, Any] = {
    "run": "own",
    "base_model": "owner/model",
    "preferences": "owner/pairs",
    "heldout": {"hh": "owner/held"},
    "variants": SMALL["variants"],
}
BOTH: dict[str, Any] = SMALL | {"heldout": {"hh": "owner/held"}}


def changed(config: dict[str, Any], **changes: Any) -> set[str]:
    """The jobs with other params, of those that both configs have."""
    before, now = (params_of(load(one, "my.yaml")) for one in (config, config | changes))
    return {name for name in before.keys() & now.keys() if before[name] != now[name]}


def stages(jobs: set[str]) -> set[str]:
    return {name.split()[0] for name in jobs}


@pytest.mark.parametrize(
    ("changes", "concerned"),
    [
        ({"track": {"wandb_project": "p", "wandb_tags": ["new"]}}, {"track"}),
        ({"compare": {"baseline": "contrastive"}}, {"compare"}),
        ({"metrics": {"filter_threshold": 0.2}}, {"compare", "goals", "metrics", "report"}),
        ({"metrics": {"skip_tokens": 2}}, {"compare", "generate", "goals", "metrics", "report"}),
        ({"generate": {"drop_share": 0.3}}, {"generate"}),
        ({"metrics": {"correlation_percentiles": [0.5]}}, {"compare", "metrics"}),
        ({"threads": {"evaluate": 2}}, {"evaluate"}),
        ({"processes": {"evaluate": 2}, "gpus": {"sample": 0}}, set()),
        ({"report": {"title": "new"}}, {"report"}),
        ({"train": {"max_checkpoints": 5}}, set()),
        ({"train": {"max_epochs": 5}}, {"train"}),
        ({"data_seed": 1}, {"generate", "pair", "prepare", "pretrain", "sample"}),
        ({"represent": {"goal_token": "mean"}}, {"represent"}),
        ({"goals": {"draws": 5}}, {"goals"}),
        ({"policy": {"steps": 7}}, {"policy"}),
        ({"policy": {"max_checkpoints": 7}}, set()),
        ({"cost": {"devices": 3}}, set()),
    ],
)
def test_a_setting_concerns_its_stages(changes: dict[str, Any], concerned: set[str]) -> None:
    plain = {key: value for key, value in SMALL.items() if key not in ("train", "metrics")}
    plain |= {"goals": {}, "generate": {}}
    plain["policies"] = {"rloo": {"reward_model": "vanilla"}, "dpo": {"method": "dpo"}}
    found = changed(plain, **changes)
    of_all = {"report", "policies"}
    assert stages(found) - of_all == concerned - of_all


def test_settings_of_benchmarks_and_of_pairs_do_not_concern_each_other() -> None:
    pairs = changed(BOTH, evaluate={"max_pairs": 1})
    assert pairs and all("/hh/pairs/" in name for name in pairs)
    of_solutions = {"filter_threshold": 0.5, "bootstrap_resamples": 50}
    solutions = changed(BOTH, evaluate={"max_problems": 1}, metrics=of_solutions)
    assert stages(solutions) >= {"evaluate", "metrics", "compare"}
    assert not any("hh" in name for name in solutions)


def test_a_shared_setting_of_contrastive_models_does_not_concern_vanilla_ones() -> None:
    variants = {"vanilla": {}, "contrastive": {"reward_model_strategy": "contrastive"}}
    shared = {"train": SMALL["train"] | {"contrastive_loss_beta": 0.7}}
    found = changed(SMALL | {"variants": variants}, **shared)
    assert found == {"train models/contrastive/seed0"}


def test_other_data_and_models_are_named() -> None:
    assert stages(changed(OWN, base_model="owner/other")) - {"report"} == {"train"}
    assert stages(changed(OWN, preferences="owner/more")) == {"prepare", "train", "represent"}
    assert stages(changed(OWN, heldout={"hh": "owner/other"})) == {"prepare", "evaluate"}


def test_a_param_names_its_option() -> None:
    params = params_of(load(SMALL, "my.yaml"))["train models/contrastive/seed0"]
    assert params["contrastive_loss_beta"] == "train.contrastive_loss_beta: 0.5"
    assert params["threads"] == 1
    assert str(params["code"]).startswith("gcrm.train and ")


def test_flags_and_commands_give_a_job_its_options() -> None:
    config = load(SMALL, "my.yaml")
    rules = Rules(config)
    for stage, wildcards in jobs_of(config):
        found = rules.params(stage)["flags"]
        assert callable(found)
        assert found(wildcards, None) == flags(options(config, stage, wildcards))
    report = "exec python -m gcrm.report {params.flags} --log-file {log:q}"
    assert Rules(load(OWN, "my.yaml")).shell("report") == report
    assert "OMP_NUM_THREADS={params.threads}" in rules.shell("train")


def test_a_run_that_makes_its_base_model_is_reproducible_and_takes_no_gpus_by_itself() -> None:
    made, brought = load(SMALL, "my.yaml"), load(OWN, "my.yaml")
    asked = load(OWN | {"reproducible": True}, "my.yaml")
    named = load(SMALL | {"gpus": {"train": 1}}, "my.yaml")
    model = {"variant": "vanilla", "seed": "0"}
    for config, expected in ((made, True), (asked, True), (named, True), (brought, False)):
        assert options(config, "train", model).model_dump()["reproducible"] is expected
        assert ("OPENBLAS_CORETYPE" in Rules(config).shell("metrics")) is expected
    assert [config.job("train").gpus for config in (made, named, brought)] == [0, 1, None]
    changes = {"reproducible": False}
    assert stages(changed(SMALL | {"goals": {}}, **changes)) == {
        *("pretrain", "sample", "train", "represent", "evaluate", "goals")
    }


@pytest.mark.parametrize("module", ["gcrm.reporting.figures.rewards", "gcrm.reporting.published"])
def test_the_report_alone_depends_on_its_modules(module: str) -> None:
    assert module in closure("gcrm.report")
    for stage in ("prepare", "train", "represent", "evaluate", "metrics", "compare"):
        assert module not in closure(f"gcrm.{stage}")
