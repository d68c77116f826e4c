"""What is written is not what is read, and is a file or folder of its own: in every stage."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from gcrm.cli import run_stage
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.represent import RepresentOptions
from gcrm.config.train import TrainOptions
from gcrm.lineage.provenance import write_provenance
from helpers.stage_options import OPTIONS, TRAIN

MINIMAL = {
    "CompareOptions": {"scores": ["s"], "output": "o"},
    "ConvertOptions": {"greedy": "g", "save_dir": "o"},
    "EvaluateOptions": {
        "reward_model_path": "m",
        "dataset": ["d.jsonl"],
        "vanilla": True,
        "output": "o",
    },
    "ExportOptions": {"scores": "s", "output": "o"},
    "GenerateOptions": {
        "model": "m",
        "reward_model_path": "m",
        "goal_state_path": "g",
        "problems": "p",
        "save_dir": "o",
    },
    "GoalsOptions": {
        "reward_model_path": "m",
        "dataset_path": ["d"],
        "completions_data_path": "c",
        "benchmarks": ["b"],
        "output": "o",
    },
    "MetricsOptions": {"scores": "s", "output": "o"},
    "PairOptions": {"completions": ["c"], "output": "o"},
    "PoliciesOptions": {"policies": ["v/seed0"], "save_dir": "o"},
    "PolicyOptions": {"pretrain": "m", "dataset": ["d"], "save_path": "o", "method": "dpo"},
    "PrepareOptions": {"benchmarks": ["b"], "problems_dir": "p"},
    "PretrainOptions": {"problems": "p", "save_path": "o"},
    "ReportOptions": {"run": "r", "metrics": ["m"], "save_dir": "o"},
    "RepresentOptions": {"dataset_path": ["d"], "reward_model_path": "m", "save_dir": "o"},
    "SampleOptions": {"model": "m", "problems": "p", "save_dir": "o"},
    "SteerOptions": {
        "model": "m",
        "reward_model_path": "m",
        "goal_state_path": "g",
        "problems": "p",
        "save_dir": "o",
    },
    "TrackOptions": {"metrics": ["m"], "output": "o"},
    "TrainOptions": {"pretrain": "m", "dataset": ["d"], "save_path": "o"},
}
"""Of each stage that writes: what it cannot do without."""
WRITTEN = [
    (name, option)
    for name, options in MINIMAL.items()
    for option in options
    if option in ("output", "problems_dir", "save_dir", "save_path")
]
SOURCES = ("dataset", "dataset_path", "model", "pretrain", "reward_model_path")
FILES = ("completions", "metrics", "problems", "scores")
READ_AND_WRITTEN = [
    (name, read, written)
    for name, written in WRITTEN
    for read in MINIMAL[name]
    if read in SOURCES or (read in FILES and written == "output")
]


def refused(name, values):
    with pytest.raises(ValidationError) as error:
        OPTIONS[name](**values)
    (problem,) = error.value.errors()
    return ".".join(map(str, problem["loc"])), problem["msg"]


def test_every_stage_that_writes_is_here():
    written = {
        name
        for name, model in OPTIONS.items()
        if {"output", "save_path", "save_dir", "report"} & model.model_fields.keys()
    }
    assert written == MINIMAL.keys()
    for name, options in MINIMAL.items():
        OPTIONS[name](**options)


@pytest.mark.parametrize(("name", "read", "written"), READ_AND_WRITTEN)
@pytest.mark.parametrize("spelling", ["o", "./x/../o", "link"])
def test_no_stage_writes_over_its_input(tmp_path, monkeypatch, name, read, written, spelling):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("o")
    values = MINIMAL[name]
    many = isinstance(values[read], list)
    place, message = refused(name, values | {read: [spelling] if many else spelling})
    assert place == "" and f"{written} is {read}, too: {tmp_path / 'o'} would be lost" in message


def test_scores_may_lie_in_folders_that_are_looked_into(tmp_path, monkeypatch, capsys):
    """Completions, a goal state: nothing of them is overwritten, and none is hashed as a whole."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").mkdir()
    made = RepresentOptions(dataset_path=["d"], reward_model_path="m", save_dir="c")
    write_provenance(tmp_path / "c" / "provenance.json", made)
    words = "--reward_model_path m --completions_data_path c --benchmarks b --save_dir c"
    words += " --goal_state_path c"
    assert run_stage(EvaluateOptions, lambda options: None, words.split()) == 0


@pytest.mark.parametrize(
    ("name", "read", "written"),
    [
        *(case for case in READ_AND_WRITTEN if case[1] in SOURCES),
        ("EvaluateOptions", "reward_model_path", "save_dir"),
        ("TrainOptions", "dataset", "ckpt_path"),
    ],
)
def test_nothing_is_written_into_a_model_or_data(tmp_path, monkeypatch, name, read, written):
    """Which count by all that is in them: unfinished work would not be known again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    values = dict(MINIMAL[name])
    if written not in values:
        values.pop("output", None)
    values |= {read: ["in"] if isinstance(MINIMAL[name][read], list) else "in"}
    place, message = refused(name, values | {written: "in/x/y"})
    assert place == "" and f"{written} lies in {read}, which it would change" in message


def test_links_in_a_circle_or_to_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("purged")
    for name, target in (("gone", "purged"), ("loop", "loop")):
        _, message = refused("TrainOptions", MINIMAL["TrainOptions"] | {"save_path": name})
        assert message.endswith(f"is a link to {target}, which is not there")
    OPTIONS["MetricsOptions"](**MINIMAL["MetricsOptions"] | {"output": "loop"})


def test_a_log_does_not_go_over_an_input_or_a_result(tmp_path, capsys):
    for path in ("pairs.jsonl", "out"):
        assert run_stage(TrainOptions, print, [*TRAIN, "--log-file", path]) == 1
        assert "and would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "option"), WRITTEN)
def test_results_have_places_of_their_own(tmp_path, monkeypatch, name, option):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with_path = [MINIMAL[name] | {option: path} for path in ("", "/", "a\0b", "n" * 201)]
    told = [refused(name, given) for given in with_path]
    assert [place for place, _ in told] == [option] * 4
    is_file = option == "output"
    for problem, (_, message) in zip(
        ("is empty", "is a folder" if is_file else "has no name", "NUL", "longer than 200 bytes"),
        told,
        strict=True,
    ):
        assert problem in message
    for path, problem in (
        ("pipe", "is not a regular file" if is_file else "is a file; expected a folder"),
        ("folder", "is a folder; expected a file" if is_file else None),
        ("file", None if is_file else "is a file; expected a folder"),
    ):
        if problem is None:
            assert getattr(OPTIONS[name](**MINIMAL[name] | {option: path}), option) == Path(path)
        else:
            assert problem in refused(name, MINIMAL[name] | {option: path})[1]


def test_the_folder_of_now_is_a_folder_with_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert TrainOptions(pretrain="m", dataset=["d"], save_path=".").save_path == tmp_path


@pytest.mark.parametrize("source", ["", "a\0b"])
@pytest.mark.parametrize(
    ("name", "option"),
    [("TrainOptions", "pretrain"), ("EvaluateOptions", "reward_model_path")],
)
def test_a_source_has_a_name(name, option, source):
    assert refused(name, MINIMAL[name] | {option: source})[0] == option


def test_a_folder_of_another_stage_is_not_written_into(tmp_path, monkeypatch, capsys):
    """Or the provenance of what is there would be lost."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    trained = TrainOptions(pretrain="base", dataset=["pairs.jsonl"], save_path="model")
    write_provenance(tmp_path / "model" / "provenance.json", trained)
    given = ["--dataset_path", "d", "--reward_model_path", "m", "--save_dir", "model"]
    assert run_stage(RepresentOptions, print, given) == 1
    assert capsys.readouterr().err.strip() == (
        "represent: error: --save_dir: model holds what `train` made; give `represent` a folder of "
        "its own"
    )
    assert run_stage(TrainOptions, lambda options: None, [*TRAIN[:-1], "model"]) == 0
