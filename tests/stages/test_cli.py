"""The command line of every stage."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

import gcrm.__main__ as gcrm_main
from gcrm.__main__ import main
from gcrm.cli import parse, run_stage
from gcrm.config.base import flags
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.represent import RepresentOptions
from gcrm.config.train import TrainOptions, TrainSettings
from gcrm.config.types import Name
from gcrm.utils.errors import UserError
from helpers.stage_options import MODELS, OPTIONS, TRAIN

pytestmark = pytest.mark.usefixtures("logging_as_before")

EVALUATE = "--benchmarks gsm8k --completions_data_path c --reward_model_path m --save_dir s".split()


def parsed(model, *argv):
    return parse(model, "stage", list(argv))[0]


def refusal(model, *argv):
    """The one line that a wrong command ends in."""
    with pytest.raises(UserError) as error:
        parsed(model, *argv)
    assert "\n" not in str(error.value)
    return str(error.value)


# The original commands, as they are, but for the script.


def test_the_original_train_command():
    command = """--save_path ./ckpt/contrastive_reward_model --save_steps -1 --logging_steps 1
        --eval_steps -1 --train_batch_size 64 --micro_train_batch_size 1 --pretrain model --bf16
        --max_epochs 1 --max_len 2048 --zero_stage 3 --learning_rate 9e-6 --dataset data
        --dataset_probs 1.0 --contrastive_loss_beta 0.5 --unsim_samples 16 --flash_attn
        --gradient_checkpointing --use_wandb key --wandb_project project --wandb_group group
        --wandb_org org --reward_model_strategy contrastive --contrastive_strategy cosine
        --value_head_strategy linear --source_state_percentile 0 --goal_state_percentile 0"""
    options = parsed(TrainOptions, *command.split())
    assert options.model_dump(exclude_unset=True, exclude={"use_wandb"}) == {
        "save_path": Path("ckpt/contrastive_reward_model"),
        "save_steps": -1,
        "logging_steps": 1,
        "eval_steps": -1,
        "train_batch_size": 64,
        "micro_train_batch_size": 1,
        "pretrain": "model",
        "bf16": True,
        "max_epochs": 1,
        "max_len": 2048,
        "zero_stage": 3,
        "learning_rate": 9e-6,
        "dataset": ["data"],
        "dataset_probs": [1.0],
        "contrastive_loss_beta": 0.5,
        "unsim_samples": 16,
        "flash_attn": True,
        "gradient_checkpointing": True,
        "wandb_project": "project",
        "wandb_group": "group",
        "wandb_org": "org",
        "reward_model_strategy": "contrastive",
        "contrastive_strategy": "cosine",
        "value_head_strategy": "linear",
        "source_state_percentile": 0.0,
        "goal_state_percentile": 0.0,
    }
    assert options.use_wandb.get_secret_value() == "key"
    # What the vanilla command leaves out.
    vanilla = command.replace("contrastive --con", "vanilla --con").split()[:-8]
    assert vanilla[-1] == "vanilla"
    options = parsed(TrainOptions, *vanilla)
    assert options.reward_model_strategy == "vanilla"


def test_the_original_represent_command():
    command = "--dataset-path data --reward-model-path model --save-dir goal"
    options = parsed(RepresentOptions, *command.split())
    assert options.dataset_path == ["data"]
    assert (options.reward_model_path, options.save_dir) == ("model", Path("goal"))


def test_the_original_evaluate_command():
    command = """--completions_data_path completions --goal_state_path goal.npy
        --reward_model_path model --save_dir results --filter_threshold 0.0
        --benchmarks gsm8k math gsm-hard mawps asdiv algebra222 svamp"""
    seven = ["gsm8k", "math", "gsm-hard", "mawps", "asdiv", "algebra222", "svamp"]
    options = parsed(EvaluateOptions, *command.split())
    assert options.benchmarks == seven and options.filter_threshold == 0.0
    assert options.goal_state_path == Path("goal.npy")
    vanilla = command.replace("--goal_state_path goal.npy", "--vanilla")
    options = parsed(EvaluateOptions, *vanilla.split())
    assert options.vanilla and options.goal_state_path is None


def test_the_original_metrics_command():
    command = """--model_name model --eval_results_dir results --filter_threshold 0.0
        --benchmarks gsm8k math --percentiles 0.0 0.5 1.0 --vanilla"""
    options = parsed(MetricsOptions, *command.split())
    assert options.percentiles == [0.0, 0.5, 1.0]
    assert options.vanilla and options.benchmarks == ["gsm8k", "math"]


# Ways to write the same.


@pytest.mark.parametrize(
    "words",
    ["--max_len 64", "--max-len 64", "--max_len=64", "--max-len=64", "--max_len 9 --max-len 64"],
)
def test_dashes_and_underscores(words):
    assert parsed(TrainOptions, *TRAIN, *words.split()).max_len == 64


def test_values_keep_their_underscores_and_dashes():
    options = parsed(TrainOptions, *TRAIN[:4], "--save_path=--my_model=a_b-c")
    assert options.save_path == Path("--my_model=a_b-c")


@pytest.mark.parametrize(
    ("word", "value"), [("-1", -1), ("-.5", -0.5), ("-1e-5", -1e-5), ("-2E-1", -0.2)]
)
def test_negative_numbers(word, value):
    options = parsed(EvaluateOptions, *EVALUATE, "--vanilla", "--filter_threshold", word)
    assert options.filter_threshold == value


def test_yes_and_no():
    assert parsed(TrainOptions, *TRAIN, "--bf16").bf16
    assert not parsed(TrainOptions, *TRAIN, "--bf16", "--no_bf16").bf16
    assert not parsed(TrainOptions, *TRAIN, "--no-bf16").bf16


@pytest.mark.parametrize(
    "words", ["--dataset a b", "--dataset a,b", "--dataset a, b", "--dataset a --dataset b"]
)
def test_lists(words):
    words = ["--dataset", "a, b"] if words == "--dataset a, b" else words.split()
    options = parsed(TrainOptions, "--pretrain", "m", "--save_path", "s", *words)
    assert options.dataset == ["a", "b"]


def test_shares_of_several_datasets():
    words = [
        "--pretrain",
        "m",
        "--save_path",
        "s",
        "--dataset",
        "a,b",
        "--dataset_probs",
        "0.9,0.1",
    ]
    assert parsed(TrainOptions, *words).dataset_probs == [0.9, 0.1]


def test_a_file_with_a_comma_is_one(tmp_path):
    path = tmp_path / "a,b.jsonl"
    path.write_text("")
    assert parsed(TrainOptions, *TRAIN[:2], "--dataset", str(path), *TRAIN[4:]).dataset == [
        str(path)
    ]


# Mistakes.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--learning_rte 1", "unknown option --learning-rte; did you mean --learning_rate?"),
        ("--lr 1", "unknown option --lr; --help explains every option"),
        ("--loging-file x", "did you mean --log_file?"),
        ("-x", "unknown option -x"),
        ("stray", "unexpected 'stray'"),
        ("--bf16 true", "unexpected 'true'"),
        ("--bf16=true", "argument --bf16"),
        ("--max_len", "argument --max-len: expected one argument"),
        ("--max_len many", "--max_len: Input should be a valid integer"),
        ("--max_len 2.5", "--max_len: Input should be a valid integer"),
        ("--max_len 1", "--max_len: Input should be greater than 1 (got '1')"),
        ("--learning_rate nan", "--learning_rate: Input should be a finite number"),
        ("--zero_stage 4", "--zero_stage: Input should be less than or equal to 3"),
        ("--save_steps -2", "--save_steps: Input should be greater than or equal to -1"),
        ("--goal_late_share 0", "--goal_late_share: Input should be greater than 0"),
        ("--source_late_share 1.1", "--source_late_share: Input should be less than or equal to 1"),
        ("--temperature 0", "--temperature: Input should be greater than 0"),
        ("--center_rewards -1", "--center_rewards: Input should be greater than or equal to 0"),
        ("--train_layers -1", "--train_layers: Input should be greater than or equal to 0"),
        ("--source_late_share 0.5 --source_state_percentile 0.5", "give one of them"),
        ("--parity official --temperature 2", "parity: official does not support temperature"),
        ("--contrastive_strategy dot", "--contrastive_strategy: Input should be 'cosine'"),
        ("--dataset_probs 0.5 0.5", "dataset_probs has 2 numbers for 1 datasets"),
        ("--dataset_probs 0.5", "dataset_probs must be positive and add to 1"),
        ("--train_batch_size 6 --micro_train_batch_size 4", "must be a multiple of"),
    ],
)
def test_mistakes_are_told_in_one_line(words, message):
    assert message in refusal(TrainOptions, *TRAIN, *words.split())


def test_all_that_is_missing_is_told_at_once():
    assert refusal(TrainOptions, "--pretrain", "m") == (
        "--dataset: is missing; give it a value; --save_path: is missing; give it a value"
    )
    assert "--dataset: Value should have at least 1 item" in refusal(
        TrainOptions, *TRAIN[:2], *TRAIN[4:], "--dataset"
    )


def test_what_concerns_several_options_names_none_as_its_own():
    message = refusal(EvaluateOptions, *EVALUATE)
    assert message == "give either --goal_state_path or --vanilla"


def test_the_goal_state_of_an_attribute_is_a_file_of_the_folder():
    attribute = ("--goal_attribute", "helpfulness")
    options = parsed(EvaluateOptions, *EVALUATE, "--goal_state_path", "goals", *attribute)
    assert options.goal_state_file == Path("goals/goal_state-helpfulness.npy")
    options = parsed(EvaluateOptions, *EVALUATE, "--goal_state_path", "goals")
    assert options.goal_state_file == Path("goals/goal_state.npy")
    assert parsed(EvaluateOptions, *EVALUATE, "--vanilla").goal_state_file is None
    named = ("--goal_state_path", "g.npy", *attribute)
    assert "give the folder" in refusal(EvaluateOptions, *EVALUATE, *named)
    assert "does nothing with --vanilla" in refusal(
        EvaluateOptions, *EVALUATE, "--vanilla", *attribute
    )


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "x"])
def test_seeds_that_no_generator_takes(seed):
    for model, words in (
        (TrainOptions, [*TRAIN, f"--seed={seed}"]),
        (MetricsOptions, ["--scores", "s", "--output", "o", f"--bootstrap_seed={seed}"]),
    ):
        assert "seed: " in refusal(model, *words)
    assert parsed(TrainOptions, *TRAIN, "--seed", str(2**32 - 1)).seed == 2**32 - 1


# How a stage ends.


def run_train(run, *argv):
    return run_stage(TrainOptions, run, [*TRAIN, *argv])


def test_a_stage_that_succeeds(tmp_path):
    seen = []
    log = tmp_path / "new" / "train.log"
    assert run_train(seen.append, "--log_file", str(log), "--seed", "3") == 0
    assert seen == [TrainOptions(pretrain="base", dataset=["pairs.jsonl"], save_path="out", seed=3)]
    assert '"seed":3' in log.read_text() and "done in" in log.read_text()


@pytest.mark.parametrize("with_log", [True, False])
def test_a_mistake_of_the_user_is_one_line(tmp_path, capsys, with_log):
    def run(options):
        raise UserError("pairs.jsonl, row 3: chosen is empty")

    log = tmp_path / "train.log"
    assert run_train(run, *["--log_file", str(log)] * with_log) == 1
    line = "train: error: pairs.jsonl, row 3: chosen is empty"
    assert capsys.readouterr().err.splitlines()[0] == line
    assert log.exists() == with_log and (not with_log or line in log.read_text())


def test_a_wrong_command_is_one_line(capsys):
    assert run_train(None, "--bogus") == 1
    assert capsys.readouterr().err == (
        "train: error: unknown option --bogus; --help explains every option\n"
    )


def test_a_defect_of_ours_keeps_its_traceback_in_the_log(tmp_path, capsys):
    def run(options):
        raise ZeroDivisionError("first line\nsecond line")

    log = tmp_path / "train.log"
    assert run_train(run, "--log_file", str(log)) == 1
    assert capsys.readouterr().err == (
        f"train: failed: ZeroDivisionError: first line (see {log})\n"
    )
    assert "Traceback" in log.read_text() and "in run" in log.read_text()
    with pytest.raises(ZeroDivisionError):
        run_train(run)


def test_interruption(capsys):
    def run(options):
        raise KeyboardInterrupt

    assert run_train(run) == 130
    assert capsys.readouterr().err.splitlines()[0] == "train: interrupted"


def test_a_log_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_train(None, "--log_file", str(tmp_path / "file" / "train.log")) == 1
    assert "train.log: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--use_wandb KEY-1", "--use_wandb=KEY-1"])
def test_secrets_are_not_shown(tmp_path, capsys, words):
    log = tmp_path / "train.log"
    assert run_train(print, "--log_file", str(log), *words.split()) == 0
    assert run_train(print, "--max_len", "x", *words.split()) == 1
    assert run_train(print, "--bogus", *words.split()) == 1
    options = parsed(TrainOptions, *TRAIN, *words.split())
    shown = [log.read_text(), capsys.readouterr(), options, options.model_dump(mode="json")]
    assert "KEY-1" not in repr(shown)
    assert "wandb" not in flags(options)


# Help.


@pytest.mark.parametrize("name", OPTIONS)
def test_help_explains_every_option(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(OPTIONS[name], "stage", ["--help"])
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    for field, info in OPTIONS[name].model_fields.items():
        assert f"--{field.replace('_', '-')}" in shown
        description = " ".join(info.description.split()).replace("- ", "-")
        assert description in shown
        if info.is_required():
            assert description + " (required)" in shown
        elif "(default:" not in description:
            assert description + " (default: " in shown
    assert "==SUPPRESS==" not in shown


@pytest.mark.parametrize("name", MODELS)
def test_every_setting_is_described(name):
    assert MODELS[name].__doc__
    for field, info in MODELS[name].model_fields.items():
        assert info.description and info.description.strip(), field


# The console script.


def gcrm(*words):
    return subprocess.run(
        [sys.executable, "-m", "gcrm", *words], capture_output=True, text=True, check=False
    )


def test_its_help_lists_every_stage(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gcrm", "--help"])
    assert main() == 0
    package = Path(gcrm_main.__file__).parent
    modules = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__", "cli"}
    listed = re.findall(r"^  (\w+) +\S", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(listed) == sorted(modules)
    assert listed.index("train") < listed.index("represent") < listed.index("evaluate")


@pytest.mark.parametrize(
    ("words", "status", "shown"),
    [
        ([], 0, "usage: gcrm STAGE"),
        (["--version"], 0, "gcrm "),
        (["trian", "--x"], 1, "gcrm: error: unknown stage 'trian'; did you mean train?\n"),
        (["\x1b[1m"], 1, "unknown stage '\\x1b[1m'; gcrm --help lists all stages\n"),
        (["cli"], 1, "unknown stage 'cli'"),
    ],
)
def test_what_is_no_stage(capsys, monkeypatch, words, status, shown):
    monkeypatch.setattr(sys, "argv", ["gcrm", *words])
    assert main() == status
    told = capsys.readouterr()
    assert shown in (told.err if status else told.out)
    assert not status or told.err.count("\n") == 1


def test_a_stage_has_its_own_command_line():
    done = gcrm("export", "--scores", "none.parquet", "--output", "x.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("export: error: none.parquet: ") and done.stderr.count("\n") == 1
    assert gcrm("gpus", "1").stderr.startswith("gpus: error: usage: ")


def test_help_of_a_stage_is_quick_for_it_loads_no_torch():
    code = "import sys; sys.argv = ['gcrm', 'train', '--help']; from gcrm.__main__ import main\n"
    code += "try: main()\n"
    code += "except SystemExit: print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m gcrm.train ")
    assert done.stdout.splitlines()[-1] == "[]"


# Settings as flags, and back: what a workflow rule does.

words = st.text("ab-_ '\";$\\,=é%\n", min_size=1).filter(lambda text: text != "--")


def any_value(kind):
    """Values of a type, most of which its field accepts."""
    if get_origin(kind) in (Union, UnionType):
        return st.one_of([any_value(part) for part in get_args(kind)])
    if kind == Name:
        return st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
    if get_origin(kind) is Annotated:
        return any_value(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is list:
        return st.lists(any_value(get_args(kind)[0]), max_size=3)
    if get_origin(kind) is tuple:
        return st.tuples(*map(any_value, get_args(kind)))
    if get_origin(kind) is dict:
        return st.just({})
    known = {bool: st.booleans(), str: words, Path: words, type(None): st.none(), SecretStr: words}
    known |= {int: st.integers(-1, 10), float: st.floats(-1, 1) | st.just(-1e-5), Any: words}
    return known[kind]


TOGETHER = {
    "EvaluateOptions": {
        "save_dir": "-s",
        "output": None,
        "vanilla": False,
        "goal_state_path": "g h",
        "completions_data_path": "c d",
        "benchmarks": ["b"],
        "dataset": [],
        "max_pairs": None,
    },
    "MetricsOptions": {"scores": "a; b", "output": "-o"},
}
"""What some options demand of each other."""


@st.composite
def settings_of(draw, model):
    fields = model.model_fields
    chosen = draw(st.lists(st.sampled_from(list(fields)), unique=True, max_size=6))
    required = [name for name, field in fields.items() if field.is_required()]
    values = {name: draw(any_value(fields[name].annotation)) for name in {*chosen, *required}}
    values |= TOGETHER.get(model.__name__, {})
    try:
        model(**values)
    except ValidationError as error:  # what is out of its range goes back to its default
        for problem in error.errors():
            if problem["loc"] and problem["loc"][0] not in required:
                values.pop(problem["loc"][0], None)
    try:
        return model(**values)
    except ValidationError:
        return None


@pytest.mark.parametrize("name", [*OPTIONS, "TrainSettings"])
@settings(max_examples=40)
@given(data=st.data())
def test_settings_survive_the_command_line(name, data):
    model = MODELS[name]
    made = data.draw(settings_of(model).filter(lambda one: one is not None))
    if any(isinstance(value, dict | BaseModel) for _, value in made):
        return
    line = flags(made)
    again = parsed(model, *shlex.split(line))
    secrets = {field for field, value in made if isinstance(value, SecretStr)}
    assert again.model_dump(exclude=secrets) == made.model_dump(exclude=secrets)
    assert flags(again) == line


def test_flags_by_hand():
    given = {"pretrain": "m", "dataset": ["d"], "save_path": "s", "wandb_group": "a b; 'c'"}
    made = TrainOptions(bf16=True, save_steps=5, adam_betas=(0.9, 0.99), **given)
    assert flags(made, save_path=Path("--x"), dataset=["p q", "r"], log_file=None) == (
        """--adam_betas 0.9 0.99 --bf16 --dataset 'p q' r --pretrain m --save_path=--x """
        """--save_steps 5 """
        """--wandb_group 'a b; '"'"'c'"'"''"""
    )
    assert flags(TrainSettings(), synthetic=False) == "--no_synthetic"
