from pathlib import Path
from typing import Any

import pytest

from gcrm.config.loading import check_keys, check_launchers, load
from gcrm.utils.errors import UserError
from helpers.configs import FETCHED, FILES, OWN
from helpers.workflow_runs import ROOT, SMALL


def mistake(config: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        load(config, "my.yaml")
    return str(error.value)


def test_batches_are_checked_as_they_will_be_used() -> None:
    variants = {"a": {"micro_train_batch_size": 48}}
    config = load(OWN | {"train": {"train_batch_size": 96}, "variants": variants}, "my.yaml")
    assert config.variant("a").micro_train_batch_size == 48
    variants = {"a": {"micro_train_batch_size": 5}}
    assert "variants.a: train_batch_size (64)" in mistake(OWN | {"variants": variants})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": [0]}, "my.yaml: sede: unknown key; did you mean 'seeds'?"),
        ({"seeds": 0}, "my.yaml: seeds: Input should be a valid list (got 0)"),
        ({"seeds": [0, 0]}, "my.yaml: seeds: 0 is there more than once"),
        ({"seeds": [True]}, "my.yaml: seeds.0: must be a whole number (got True)"),
        ({"data_seed": 2**32}, "my.yaml: data_seed: Input should be less than or equal to 42949"),
        ({"run": "../x"}, "my.yaml: run: String should match pattern"),
        ({"variants": {}}, "my.yaml: variants: Dictionary should have at least 1 item"),
        (
            {"train": {"max_lenn": 3}},
            "my.yaml: train.max_lenn: unknown key; did you mean 'max_len'?",
        ),
        ({"variants": {"v": {"max_lenn": 3}}}, "my.yaml: variants.v.max_lenn: unknown key"),
        ({"gpus": {"trian": 1}}, "my.yaml: gpus.trian: unknown key; did you mean 'train'?"),
        ({"variants": {"v": 3}}, "my.yaml: variants.v: "),
        (
            {"variants": {"v": {"contrastive_loss_beta": 1}}},
            "does nothing in a vanilla reward model",
        ),
        (
            {"variants": {"v": {"temperature": 2}}},
            "variants.v.temperature: does nothing in a vanilla reward model",
        ),
        (
            {"variants": {"v": {"goal_late_share": 0.5, "goal_state_percentile": 0.5}}},
            "variants.v: goal_late_share keeps the last part of a completion and goal_state_perc",
        ),
        (
            {"variants": {"v": {"parity": "official", "center_rewards": 0.1}}},
            "variants.v: parity: official does not support center_rewards, which the authors' code",
        ),
        (
            {"variants": {"v": {"parity": "official", "contrastive_strategy": "single_goal"}}},
            "variants.v: parity: official supports only the contrastive_strategy sgs or complet",
        ),
        (
            {
                "train": {"reward_model_strategy": "contrastive"},
                "variants": {"v": {"contrastive_mean": "batch"}},
            },
            "variants.v.micro_train_batch_size: contrastive_mean takes the pairs of one forward pa",
        ),
        (
            {"represent": {"attributes": ["a", "a"]}},
            "my.yaml: represent.attributes: a is there more than once",
        ),
        ({False: 1}, "my.yaml: the key False is not text, as YAML reads it (on, off"),
        ({7: 1}, "my.yaml: the key 7 is not text"),
        ({"train": {"adam_betas": [2, 3]}}, "my.yaml: train.adam_betas.0: Input should be less"),
        ({"base_model": "download:x"}, "my.yaml: base_model: is not of downloads"),
        ({"heldout": {"a": ""}}, "my.yaml: heldout.a: "),
        ({"represent": {"attributes": ["../a"]}}, "represent.attributes.0: String should match"),
        ({"represent": {"attribute_share": 0.1}}, "attribute_share does nothing without attrib"),
        (
            {"represent": {"attributes": ["a"]}, "evaluate": {"goal_attribute": "b"}},
            "evaluate.goal_attribute: 'b' is not among represent.attributes (a)",
        ),
        (
            {"evaluate": {"goal_attribute": "b"}},
            "evaluate.goal_attribute: 'b' is not among represent.attributes (which are none)",
        ),
        ({"compare": {"baseline": "x"}}, "my.yaml: compare: there is no variant 'x'; there are v"),
        (
            {"compare": {"pairs": ["vanilla:x"]}},
            "my.yaml: compare: there is no variant 'x'; there are vanilla",
        ),
        ({"compare": {"pairs": ["vanilla"]}}, "my.yaml: compare.pairs.0: String should match"),
        ({"pretrain": {}}, "my.yaml: pretrain: would do nothing, since base_model is given"),
        ({"prepare": {}}, "my.yaml: prepare: would do nothing, since base_model, preferences, com"),
        ({"benchmarks": []}, "completions: does nothing without benchmarks"),
        (
            {"benchmarks": [], "completions": None},
            "my.yaml: benchmarks: is missing; name benchmarks",
        ),
        ({"heldout": {"gsm8k": "a/b"}}, "my.yaml: heldout.gsm8k: is the name of a benchmark"),
        ({"heldout": {"a/b": "a/b"}}, "my.yaml: heldout.a/b.[key]: String should match pattern"),
        ({"heldout": ["a/b"]}, "my.yaml: heldout: Input should be a valid dictionary"),
        ({"heldout": {"hh": "{x}.jsonl"}}, "my.yaml: heldout.hh: {x}.jsonl: has a brace"),
        ({"base_model": None}, "my.yaml: base_model: is missing; give it, or a section pretrain:"),
        ({"dataset_probs": [0.5, 0.5]}, "my.yaml: dataset_probs has 2 numbers for 1 datasets"),
        (
            {"threads": {"train": 0}},
            "my.yaml: threads.train: Input should be greater than or equal",
        ),
    ],
)
def test_mistakes_name_file_key_and_what_is_expected(changes: dict[str, Any], message: str) -> None:
    lines = mistake(OWN | changes).splitlines()
    assert any(message in line for line in lines), lines
    assert all(line.startswith("my.yaml: ") for line in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"benchmarks": ["gsm9k"]},
            "benchmarks: no problems can be made for gsm9k; made are gsm8k",
        ),
        (
            {"sample": {"num_samples": {"gsm8": 2, "preference": 2}}},
            "num_samples.gsm8: no such set",
        ),
        ({"sample": {"num_samples": {"preference": 1}}}, "preference: must be at least 2"),
        (
            {"report": {"in_distribution": ["gsm8k", "math"]}},
            "report.in_distribution: math: no such benchmark; known are gsm8k, svamp",
        ),
        ({"dataset_probs": [1.0]}, "dataset_probs: does nothing without preferences"),
        ({"represent": {"attributes": ["a"]}}, "represent.attributes: made pairs have none"),
        ({"chat_template": "mine.jinja"}, "chat_template: the made base model has its own"),
        (
            {"goals": {}, "sample": {"num_samples": {"preference": 2}}},
            "goals: no benchmark has samples to filter",
        ),
        (
            {"generate": {}, "sample": {"num_samples": {"preference": 2}}},
            "generate: no benchmark has samples",
        ),
        ({"generate": {"benchmarks": ["math"]}}, "generate.benchmarks: math: no such benchmark"),
        ({"generate": {"keep_samples": 20}}, "keep_samples = 20 is more than num_samples = 16"),
        ({"prepare": {"preference_families": ["x"]}}, "preference_families: no problems can be"),
        ({"policies": {"p": {}}}, "policies.p: rloo needs a reward_model; name a variant"),
        ({"policies": {"p": {"reward_model": "x"}}}, "policies.p.reward_model: no variant 'x'"),
        (
            {"policies": {"p": {"method": "dpo", "reward_model": "vanilla"}}},
            "policies.p: reward_model does nothing with dpo",
        ),
        (
            {"policies": {"p": {"method": "dpo", "temperature": 0.5}}},
            "policies.p.temperature: does nothing with dpo",
        ),
        ({"policy": {"steps": 5}}, "policy: does nothing without policies"),
    ],
)
def test_mistakes_in_a_run_that_makes_its_data(changes: dict[str, Any], message: str) -> None:
    assert message in mistake(SMALL | changes)


def test_a_mistake_in_the_shared_section_is_told_once() -> None:
    told = mistake(SMALL | {"train": {"max_len": "long"}}).splitlines()
    assert len(told) == 1
    assert told[0].startswith("my.yaml: train.max_len: ")


def test_variables_stand_in_paths_only() -> None:
    given_ = OWN | {"completions": "${DATA}/c", "preferences": ["${DATA}/p.jsonl", "a/b"]}
    config = load(given_ | {"report": {"title": "${DATA}"}}, "my.yaml", {"DATA": "/d"})
    assert config.completions == "/d/c"
    assert config.preferences == ["/d/p.jsonl", "a/b"]
    assert config.report.title == "${DATA}"
    with pytest.raises(
        UserError, match=r"^my.yaml: preferences: .* variable DATA is not set; .*--c"
    ):
        load(OWN | {"preferences": "${DATA}/p.jsonl"}, "my.yaml", {})


def test_a_name_of_a_dev_set_is_taken_where_there_are_dev_sets() -> None:
    heldout = {"heldout": {"dev-gsm8k": "a/b"}}
    assert "dev-gsm8k: is the name of a benchmark" in mistake(SMALL | heldout)
    assert load(OWN | heldout, "my.yaml").heldout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"preferences": "download:pair"},
            "preferences: download:pair: no such entry in downloads; there are: pairs, other, test",
        ),
        ({"completions": "download:nope"}, "completions: download:nope: no such entry"),
        ({"heldout": {"a": "download:nope"}}, "heldout.a: download:nope: no such entry"),
        (
            {"preferences": "download:predictions"},
            "is of format completions, where pairs or solutions is needed",
        ),
        ({"completions": "download:pairs"}, "is of format pairs, where completions is needed"),
        (
            {"preferences": "a/b", "completions": "c", "heldout": {}},
            "downloads: would do nothing; name an entry of it as a source (preferences: download:",
        ),
        ({"base_model": None, "pretrain": {}, "prepare": {}}, "would make base_model itself"),
        ({"benchmarks": ["simuleq"]}, "downloads.predictions.samples.gsm8k: no such benchmark"),
        (
            {"downloads": {"pairs": {"format": "pairs", "files": [{"url": "file:///x"}]}}},
            "downloads.pairs.files.0.url: String should match",
        ),
        (
            {"downloads": {"pairs": {"format": "pairs", "files": FILES, "samples": {"a": 1}}}},
            "downloads.pairs: samples does nothing in the format pairs",
        ),
        (
            {"downloads": {"pairs": {"format": "pairs", "files": FILES, "folder": "../x"}}},
            "downloads.pairs: folder must be a path inside the archive",
        ),
        (
            {"downloads": {"p": {"format": "completions", "files": FILES * 2}}},
            "downloads.p: completions come from one .zip file",
        ),
        (
            {"downloads": {"pairs": {"format": "pairs", "files": FILES * 2}}},
            "twice; remove one",
        ),
        *(
            (
                {"downloads": {"pairs": {"format": "pairs", "files": [{"url": url}]}}},
                f"downloads.pairs.files.0.url: {told}",
            )
            for url, told in (
                ("http://h/ü.jsonl", "has letters that an address cannot have"),
                ("http://[x/y.jsonl", "is not an address: Invalid IPv6 URL"),
                ("http://h.org:port/y.jsonl", "is not an address: Port could not be cast"),
                (f"http://{'a' * 64}.org/y.jsonl", "is not an address: "),
            )
        ),
        ({"downloads": {"../p": {"format": "pairs", "files": FILES}}}, "downloads.../p"),
        ({"cost": {"device": "abacus"}}, "cost.device: Input should be 'cpu', "),
    ],
)
def test_mistakes_in_what_is_downloaded(changes: dict[str, Any], message: str) -> None:
    lines = mistake(FETCHED | changes).splitlines()
    assert any(message in line for line in lines), lines
    assert all(line.startswith("my.yaml: ") for line in lines)


def test_keys_given_twice_are_named_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("run: a\nvariants:\n  b: {max_len: 1}\n  c:\n  b:\nseeds: [0]\nrun: a\n")
    with pytest.raises(UserError) as error:
        check_keys(file)
    assert str(error.value).splitlines() == [
        f"{file}: variants.b: is given twice, in lines 3 and 5; keep one",
        f"{file}: run: is given twice, in lines 1 and 7; keep one",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")))
def test_no_config_here_gives_a_key_twice(path: Path) -> None:
    check_keys(path)


def test_several_nodes_need_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(OWN | {"nodes": {"train": 2}, "processes": {"train": 2}}, "my.yaml")
    monkeypatch.setenv("PATH", str(tmp_path))
    check_launchers(load(OWN, "my.yaml"), "my.yaml")
    with pytest.raises(UserError, match=r"^my.yaml: nodes.train: several nodes need Slurm, "):
        check_launchers(config, "my.yaml")
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    check_launchers(config, "my.yaml")
