import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcrm.config.loading import check_keys, check_launchers, load
from gcrm.config.train import CONTRASTIVE_ONLY, SET_BY_PARITY, TrainSettings
from gcrm.data.checks import check_inputs
from gcrm.utils.errors import UserError
from gcrm.utils.paths import files_of
from helpers.workflow_runs import ROOT, SMALL

OWN: dict[str, Any] = {
    "run": "own",
    "benchmarks": ["gsm8k", "simuleq"],
    "base_model": "owner/model",
    "preferences": "owner/pairs",
    "completions": "completions",
    "variants": {"vanilla": None},
}


def mistake(config: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        load(config, "my.yaml")
    return str(error.value)


def test_a_variant_is_the_shared_settings_with_its_own_above() -> None:
    config = load(SMALL | {"train": {"max_len": 99, "train_batch_size": 8}}, "my.yaml")
    assert config.variant("contrastive").max_len == 99
    assert config.variant("contrastive").contrastive_loss_beta == 0.5
    assert config.variant("vanilla").reward_model_strategy == "vanilla"


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
        ({False: 1}, "my.yaml: the key False is no text, as YAML reads it (on, off"),
        ({7: 1}, "my.yaml: the key 7 is no text"),
        ({"train": {"adam_betas": [2, 3]}}, "my.yaml: train.adam_betas.0: Input should be less"),
        ({"base_model": "download:x"}, "my.yaml: base_model: is not of downloads"),
        ({"heldout": {"a": ""}}, "my.yaml: heldout.a: "),
        ({"represent": {"attributes": ["../a"]}}, "represent.attributes.0: String should match"),
        ({"represent": {"attribute_share": 0.1}}, "attribute_share does nothing without attrib"),
        (
            {"represent": {"attributes": ["a"]}, "evaluate": {"goal_attribute": "b"}},
            "evaluate.goal_attribute: 'b' is none of represent.attributes (a)",
        ),
        (
            {"evaluate": {"goal_attribute": "b"}},
            "evaluate.goal_attribute: 'b' is none of represent.attributes (which are none)",
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


def test_a_name_of_a_dev_set_is_taken_where_there_are_dev_sets() -> None:
    heldout = {"heldout": {"dev-gsm8k": "a/b"}}
    assert "dev-gsm8k: is the name of a benchmark" in mistake(SMALL | heldout)
    assert load(OWN | heldout, "my.yaml").heldout


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


def test_attributes_of_a_run_are_checked_before_any_job(tmp_path: Path) -> None:
    files = own_files(tmp_path)
    wanted = {"represent": {"attributes": ["helpfulness"]}}
    config = load(files | wanted, "my.yaml")
    with pytest.raises(UserError, match="row 1: attribute helpfulness is missing or null"):
        check_inputs(config, "my.yaml", tmp_path / "memory.json")
    pair = {"question": "q ?", "correct": "a", "incorrect": "b", "helpfulness": 3}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    check_inputs(config, "my.yaml", tmp_path / "memory.json")


def test_sources_may_name_their_splits(tmp_path: Path) -> None:
    import datasets

    pairs = datasets.Dataset.from_list([{"question": "q ?", "correct": "a", "incorrect": "b"}])
    datasets.DatasetDict({"train_prefs": pairs, "test_prefs": pairs}).save_to_disk(tmp_path / "d")
    given = OWN | {
        "benchmarks": [],
        "completions": None,
        "preferences": f"{tmp_path / 'd'}:train_prefs",
        "heldout": {"held": f"{tmp_path / 'd'}:test_prefs"},
    }
    config = load(given, "my.yaml")
    assert config.preference_files() == config.heldout_files() == files_of(str(tmp_path / "d"))
    assert config.scored_files("held", "pairs") == config.heldout_files()
    check_inputs(config, "my.yaml", tmp_path / "memory.json")
    for change in ({"preferences": str(tmp_path / "d")}, {"heldout": {"a": f"{tmp_path / 'd'}:a"}}):
        with pytest.raises(UserError, match=r"name the one to read, as in .*d:train_prefs$"):
            check_inputs(load(given | change, "my.yaml"), "my.yaml", tmp_path / "memory.json")
    with pytest.raises(UserError, match=r"preferences: \./none:train: no such file or folder"):
        missing = load(given | {"preferences": "./none:train"}, "my.yaml")
        check_inputs(missing, "my.yaml", tmp_path / "memory.json")


def test_a_missing_chat_template_is_told_before_any_job(tmp_path: Path) -> None:
    config = load(own_files(tmp_path) | {"chat_template": "none.jinja"}, "my.yaml")
    with pytest.raises(UserError, match=r"my.yaml: chat_template: none.jinja: no such file"):
        check_inputs(config, "my.yaml", tmp_path / "memory.json")


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

FILES = [{"url": "https://example.org/a.zip"}]
FETCHED: dict[str, Any] = OWN | {
    "preferences": ["download:pairs", "mine.jsonl"],
    "completions": "download:predictions",
    "heldout": {"held": "download:test"},
    "downloads": {
        "pairs": {"format": "pairs", "files": FILES},
        "other": {"format": "solutions", "files": FILES},
        "test": {"format": "pairs", "files": FILES},
        "predictions": {"format": "completions", "files": FILES, "samples": {"gsm8k": 2}},
    },
}


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


def test_what_is_downloaded_is_not_looked_for_before_the_run(tmp_path: Path) -> None:
    config = load(FETCHED | {"preferences": "download:pairs"}, "my.yaml")
    check_inputs(config, "my.yaml", tmp_path / "memory.json")


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
                ("http://[x/y.jsonl", "is no address: Invalid IPv6 URL"),
                ("http://h.org:port/y.jsonl", "is no address: Port could not be cast"),
                (f"http://{'a' * 64}.org/y.jsonl", "is no address: "),
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


# --- data that a run brings ------------------------------------------------------------------


def test_hub_ids_have_no_files_and_folders_have_theirs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in ("b", "a", "sub/c", ".cache/d"):
        (tmp_path / name).write_text("")
    assert files_of("owner/model") == []
    assert files_of(str(tmp_path)) == [tmp_path / "a", tmp_path / "b", tmp_path / "sub" / "c"]
    assert files_of("owner/pairs.jsonl") == [Path("owner/pairs.jsonl")]


def own_files(folder: Path) -> dict[str, Any]:
    pair = {"question": "q ?", "correct": "a", "incorrect": "b"}
    (folder / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    row = {"question": "p ?", "generated_solution": "2", "is_correct": True}
    for name in ("gsm8k", "simuleq"):
        (folder / name).mkdir()
        (folder / name / "output-greedy.jsonl").write_text(json.dumps(row) + "\n")
    return OWN | {"preferences": str(folder / "pairs.jsonl"), "completions": str(folder)}


def test_what_was_found_good_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(own_files(tmp_path), "my.yaml")
    memory = tmp_path / ".snakemake" / "inputs.json"
    check_inputs(config, "my.yaml", memory)
    seen: list[object] = []
    monkeypatch.setattr("gcrm.data.checks.read_completions", lambda *args: seen.append(args[1:]))
    monkeypatch.setattr("gcrm.data.checks.load_preferences", lambda *args: seen.append(args))
    check_inputs(config, "my.yaml", memory)
    assert seen == []
    file = tmp_path / "gsm8k" / "output-greedy.jsonl"
    os.utime(file, (1, 1))
    check_inputs(config, "my.yaml", memory)
    assert seen == [("gsm8k", "greedy")]


def test_a_broken_row_stays_refused(tmp_path: Path) -> None:
    config = load(own_files(tmp_path), "my.yaml")
    (tmp_path / "gsm8k" / "output-greedy.jsonl").write_text('{"question": 3}\n')
    for _ in range(2):
        with pytest.raises(UserError, match=r"output-greedy.jsonl, row 1: "):
            check_inputs(config, "my.yaml", tmp_path / "memory.json")


def test_broken_held_out_rows_and_missing_files_are_refused(tmp_path: Path) -> None:
    given_ = own_files(tmp_path)
    pair = {"question": "q ?", "correct": "a", "incorrect": None}
    (tmp_path / "heldout.jsonl").write_text(json.dumps(pair) + "\n")
    for name, message in (
        ("heldout.jsonl", r"heldout.jsonl, row 1: incorrect is missing or null"),
        ("none.jsonl", r"my.yaml: heldout.hh: .*none.jsonl: no such file or folder"),
    ):
        config = load(given_ | {"heldout": {"hh": str(tmp_path / name)}}, "my.yaml")
        with pytest.raises(UserError, match=message):
            check_inputs(config, "my.yaml", tmp_path / "memory.json")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file"), ("{", "not readable as JSON"), ("[]", "expected a JSON object")],
)
def test_a_deepspeed_configuration_is_read_before_any_job(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    file = tmp_path / "zero.json"
    if content is not None:
        file.write_text(content)
    config = load(OWN | {"train": {"deepspeed_config": str(file)}}, "my.yaml")
    with pytest.raises(UserError, match=f"zero.json: {problem}"):
        check_inputs(config, "my.yaml", tmp_path / "memory.json")


@pytest.mark.parametrize("content", ["", "[]", "{broken"])
def test_a_broken_memory_is_forgotten(tmp_path: Path, content: str) -> None:
    config = load(own_files(tmp_path), "my.yaml")
    memory = tmp_path / "memory.json"
    memory.write_text(content)
    check_inputs(config, "my.yaml", memory)
    assert len(json.loads(memory.read_text())) == 3


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


def test_keys_given_twice_are_named_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("run: a\nvariants:\n  b: {max_len: 1}\n  c:\n  b:\nseeds: [0]\nrun: a\n")
    with pytest.raises(UserError) as error:
        check_keys(file)
    assert str(error.value).splitlines() == [
        f"{file}: variants.b: is there twice, in lines 3 and 5; keep one",
        f"{file}: run: is there twice, in lines 1 and 7; keep one",
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
