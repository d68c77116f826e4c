"""Where a number comes from, on a chain of stages that is made by hand. (Of a real run:
`test_end_to_end`.)
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gcrm.config.loading import load
from gcrm.config.options import options
from gcrm.config.pair import PairOptions
from gcrm.lineage import steps
from gcrm.lineage.fingerprint import code_version
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.lineage.steps import provenance_of
from gcrm.trace import main, trace
from gcrm.utils.errors import UserError

NUMBER = Path("results/mine/metrics/plain/seed0/gsm8k.json")
MODEL = Path("results/mine/models/plain/seed0")
PAIRS = Path("results/mine/preferences/pairs.jsonl")
SOLUTIONS = Path("data/gsm8k/output-greedy.jsonl")
SCORES = Path("results/mine/scores/plain/seed0/gsm8k/greedy/scores.parquet")
CONFIG = Path("config/mine.yaml")
STAGES = ["pair", "train", "evaluate", "metrics"]
ROWS = [
    {"metric": "auroc.reward", "at": None, "value": 0.75},
    {"metric": "partial_auroc.reward", "at": 0.5, "value": 0.5},
    {"metric": "partial_auroc.reward", "at": 1.0, "value": 0.75},
    {"metric": "pass@1", "at": None, "value": 0.25},
]


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Brought solutions → pair → train → evaluate → metrics; the base model is on the hub."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)  # as the config has it; provenance tells it where torch is loaded
    steps.read.cache_clear()
    steps._digest.cache_clear()
    written(SOLUTIONS, "solutions")
    written(PAIRS, "pairs")
    pairing = PairOptions(completions=[SOLUTIONS], output=PAIRS)
    write_provenance(beside(PAIRS), pairing, [SOLUTIONS], [PAIRS])
    content = {
        "run": "mine",
        "base_model": "hub/base",
        "preferences": str(PAIRS),
        "completions": "data",
        "benchmarks": ["gsm8k"],
        "train": {"max_len": 64},
        "variants": {"plain": {}},
    }
    written(CONFIG, json.dumps(content))  # JSON is YAML
    weights = written(MODEL / "model.safetensors", "weights")
    record(MODEL / "provenance.json", "train", ["hub/base", PAIRS], [weights])
    written(SCORES, "scores")
    record(
        beside(SCORES), "evaluate", [MODEL, SOLUTIONS], [SCORES], benchmark="gsm8k", split="greedy"
    )
    written(NUMBER, json.dumps(ROWS))
    record(beside(NUMBER), "metrics", [SCORES], [NUMBER], benchmark="gsm8k")
    return tmp_path


def record(
    path: Path, stage: str, inputs: list[Any], outputs: list[Path], **wildcards: str
) -> None:
    """The provenance of a job as the config has it now."""
    config = load(json.loads(CONFIG.read_text()), "mine.yaml")
    made = options(config, stage, {"variant": "plain", "seed": "0", **wildcards})
    write_provenance(path, made, inputs, outputs)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(*words: str) -> dict[str, Any]:
    """As a command of its own would find it: nothing is remembered."""
    steps.read.cache_clear()
    steps._digest.cache_clear()
    return trace(NUMBER, *words)


def differing() -> dict[str, list[str]]:
    return {step["stage"]: step["differs"] for step in found()["steps"] if step["rebuild"]}


def test_it_leads_back_to_what_was_brought(chain: Path) -> None:
    told = found("auroc.reward")
    assert told["value"] == ROWS[0]
    assert [step["stage"] for step in told["steps"]] == STAGES
    begins = [one["name"] for s in told["steps"] for one in s["inputs"] if one["made_by"] is None]
    assert begins == [str(SOLUTIONS), "hub/base", str(SOLUTIONS)]
    assert told["config"] == "config/mine.yaml"
    assert differing() == {}
    assert (
        told["commands"]["now"] == f"snakemake --cores all {NUMBER} --configfile config/mine.yaml"
    )


def test_a_number_is_a_metric_or_keys_of_an_object(chain: Path) -> None:
    assert found("partial_auroc.reward")["value"] == ROWS[1:3]
    assert found("partial_auroc.reward@0.5")["value"] == ROWS[1]
    assert found("partial_auroc.reward@1")["value"] == ROWS[2]  # its name in tracking
    assert found("pass@1")["value"] == ROWS[3]
    NUMBER.write_text(json.dumps({"auroc": {"0.5": {"value": 0.25}}}))
    assert found("auroc")["value"] == {"0.5": {"value": 0.25}}
    assert found("auroc.0.5.value")["value"] == 0.25
    with pytest.raises(UserError, match=r"no 'auroc.x'; auroc has 0.5"):
        found("auroc.x")


def test_changed_raw_data_concern_all_that_rests_on_them(chain: Path) -> None:
    SOLUTIONS.write_text("others")
    assert differing() == {
        "pair": [f"{SOLUTIONS} has changed"],
        "train": [],
        "evaluate": [f"{SOLUTIONS} has changed"],
        "metrics": [],
    }


def test_a_result_that_was_edited_by_hand_is_told(chain: Path) -> None:
    NUMBER.write_text(NUMBER.read_text().replace("0.75", "0.99"))
    assert differing() == {"metrics": [f"{NUMBER} is not as the stage wrote it"]}


def test_a_model_that_is_gone_is_told(chain: Path) -> None:
    (MODEL / "model.safetensors").unlink()
    assert list(differing()) == ["train", "evaluate", "metrics"]
    assert f"{MODEL} has changed" in differing()["evaluate"]
    shutil.rmtree(MODEL)
    gone = f"{MODEL} is not there any more (as seen from {Path.cwd()})"
    assert gone in differing()["evaluate"]


def test_another_setting_is_told_with_both_values(chain: Path) -> None:
    config = json.loads(CONFIG.read_text())
    config |= {"variants": {"plain": {"max_len": 128}}, "metrics": {"skip_tokens": 9}}
    config |= {"track": {"wandb_project": "changes nothing"}}
    CONFIG.write_text(json.dumps(config))
    assert differing() == {
        "train": ["train.max_len: 64 then, 128 now"],
        "evaluate": [],
        "metrics": ["metrics.skip_tokens: 5 then, 9 now"],
    }


def test_other_data_and_models_are_told(chain: Path) -> None:
    """All that the config decides beside settings, each by itself."""
    content = json.loads(CONFIG.read_text())
    samples = written(Path("data/gsm8k/output-rs0.jsonl"), "samples")
    of_samples = Path(str(SCORES).replace("greedy", "all"))
    written(of_samples, "scores")
    wildcards = {"benchmark": "gsm8k", "split": "all"}
    record(beside(of_samples), "evaluate", [MODEL, samples], [of_samples], **wildcards)
    record(beside(NUMBER), "metrics", [SCORES, of_samples], [NUMBER], benchmark="gsm8k")
    assert differing() == {}
    written(Path("elsewhere/gsm8k/output-rs0.jsonl"), "others")
    for change, stage, told in (
        ({"base_model": "hub/other"}, "train", "train.pretrain: hub/base then, hub/other now"),
        ({"preferences": "hub/pairs"}, "train", f"train.dataset: {PAIRS} is not given any more"),
        ({"preferences": [str(PAIRS), "hub/b"]}, "train", "train.dataset: hub/b is new"),
        (
            {"evaluate": {"max_problems": 5}},
            "evaluate",
            "evaluate.max_problems: None then, 5 now",
        ),
        (
            {"completions": "elsewhere"},
            "evaluate",
            "evaluate.completions_data_path: data then, elsewhere now",
        ),
    ):
        CONFIG.write_text(json.dumps(content | change))
        found_here = differing()
        assert told in found_here.pop(stage), change
        assert all(not reasons for reasons in found_here.values()), change
        assert "metrics" in found_here
    CONFIG.write_text(json.dumps(content))
    new = str(written(Path("data/gsm8k/output-rs1.jsonl"), "samples"))
    assert differing() == {"evaluate": [f"{new} is new"], "metrics": []}


def test_new_samples_concern_measurements_of_goal_states(chain: Path) -> None:
    CONFIG.write_text(json.dumps(json.loads(CONFIG.read_text()) | {"goals": {}}))
    samples = written(Path("data/gsm8k/output-rs0.jsonl"), "samples")
    output = written(Path("results/mine/goals/plain/seed0.jsonl"), "measurements")
    record(beside(output), "goals", [MODEL, PAIRS, samples], [output])
    new = written(Path("data/gsm8k/output-rs1.jsonl"), "samples")
    steps.read.cache_clear()
    last = trace(output)["steps"][-1]
    assert (last["stage"], last["differs"]) == ("goals", [f"{new} is new"])


def test_variants_and_benchmarks_of_a_comparison_are_told(chain: Path) -> None:
    content = json.loads(CONFIG.read_text())
    content["variants"] = {"plain": {}, "other": {}}
    CONFIG.write_text(json.dumps(content))
    path = Path("results/mine/comparisons/gsm8k.json")
    written(path, "{}")
    scores = [Path(str(SCORES).replace("plain", name)) for name in content["variants"]]
    record(beside(path), "compare", scores, [path], benchmark="gsm8k")
    steps.read.cache_clear()
    assert trace(path)["steps"][-1]["differs"] == []
    del content["variants"]["other"]
    CONFIG.write_text(json.dumps(content))
    gone = f"compare.scores: {scores[1]} is not given any more"
    assert gone in trace(path)["steps"][-1]["differs"]


def test_a_model_that_the_config_no_longer_has_is_told(chain: Path) -> None:
    content = json.loads(CONFIG.read_text()) | {"variants": {"other": {}}}
    CONFIG.write_text(json.dumps(content))
    assert differing()["train"] == ["train: no variant 'plain'; the config has other"]


def test_other_code_is_told_with_both_versions(chain: Path) -> None:
    path = beside(SCORES)
    facts = json.loads(path.read_text()) | {"code": "0a0a0a0a"}
    path.write_text(json.dumps(facts))
    now = code_version("gcrm.evaluate")
    assert differing() == {
        "evaluate": [f"code of gcrm.evaluate: 0a0a0a0a then, {now} now"],
        "metrics": [],
    }


def test_other_versions_are_a_note(chain: Path) -> None:
    path = beside(SCORES)
    facts = json.loads(path.read_text())
    facts["versions"]["numpy"] = "0.1"
    path.write_text(json.dumps(facts))
    assert differing() == {}
    [note] = [note for step in found()["steps"] for note in step["notes"]]
    assert note.startswith("numpy 0.1 then, ")


def test_a_run_that_no_config_here_made_is_told_without_settings(chain: Path) -> None:
    CONFIG.unlink()
    told = found()
    assert (told["config"], told["commands"]["now"]) == (None, None)
    assert [step["stage"] for step in told["steps"]] == STAGES


def test_what_lies_in_folders_of_the_report_is_the_reports(chain: Path) -> None:
    facts = json.loads(beside(NUMBER).read_text()) | {"outputs": {}}
    report = Path("results/mine/report")
    written(report / "provenance.json", json.dumps(facts))
    figure = written(report / "figures/auroc.svg", "")
    assert provenance_of(figure) == report / "provenance.json"
    assert provenance_of(written(PAIRS.with_name("notes.txt"), "")) is None


# --- the command -------------------------------------------------------------------------------


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gcrm.trace", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_people_read_it_stage_by_stage(chain: Path) -> None:
    done = command(NUMBER, "auroc.reward")
    assert done.returncode == 0, done.stderr
    blocks = done.stdout.split("\n\n")
    assert blocks[0] == f"{NUMBER}: auroc.reward = {json.dumps(ROWS[0])}"
    assert [block.split()[0] for block in blocks[1:-1]] == STAGES
    assert "max_len=64" in blocks[2] and "hub/base  (a name on the hub)" in blocks[2]
    assert "brought: it begins here" in blocks[1]
    assert "Nothing differs from this checkout" in blocks[-1]


def test_it_says_what_would_be_built_again(chain: Path) -> None:
    SCORES.unlink()
    last = command(NUMBER).stdout.split("\n\n")[-1]
    assert "built again: evaluate → metrics" in last
    assert f"evaluate: {SCORES} is not there any more" in last


def test_programs_read_json(chain: Path) -> None:
    told = json.loads(command(NUMBER, "auroc.reward", "--json").stdout)
    assert [step["stage"] for step in told["steps"]] == STAGES
    assert told["steps"][1]["facts"]["options"]["max_len"] == 64


@pytest.mark.parametrize(
    "change",
    [
        {"versions": None},
        {"options": []},
        {"inputs": []},
        {"inputs": {"a": 1}},
        {"command": "unheard"},
        {"command": "../../x"},
        {"git": "text"},
        {"threads": "two"},
    ],
)
def test_what_others_call_provenance_is_not_ours(chain: Path, change: dict[str, Any]) -> None:
    path = beside(SCORES)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    steps.read.cache_clear()
    assert provenance_of(SCORES) is None


def test_no_control_code_of_a_provenance_reaches_the_terminal(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = beside(SCORES)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"device": "\x1b[31mRED\x1b[2J"}))
    assert main([str(NUMBER)]) == 0
    told = capsys.readouterr().out
    assert r"\x1b[31mRED" in told and "\x1b" not in told


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["results/none.json"], "results/none.json: no such file"),
        ([], "arguments are required: file; --help explains every option"),
        ([NUMBER, "--config", "x"], "unrecognized arguments: --config"),
        ([SOLUTIONS], "no provenance beside it"),
        ([NUMBER, "accuracy"], "the file has auroc.reward, partial_auroc.reward, pass@1"),
        ([NUMBER, "partial_auroc.reward@0.7"], "no 'partial_auroc.reward@0.7'; the file has"),
        (
            [NUMBER, "auroc.rewards"],
            "no 'auroc.rewards'; did you mean 'auroc.reward'? The file has",
        ),
        ([SCORES, "auroc"], "only .json files have numbers by name"),
        ([NUMBER, "--configfile", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_mistakes_are_one_line(
    chain: Path, capsys: pytest.CaptureFixture[str], words: list[object], problem: str
) -> None:
    assert main([str(word) for word in words]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("trace: error: ") and problem in said.err
