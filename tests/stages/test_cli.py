"""The command line of every stage."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

import gcrm.__main__ as gcrm_main
from gcrm.__main__ import main
from gcrm.cli import parse, run_stage
from gcrm.config.base import flags
from gcrm.config.cost import CostOptions
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.represent import RepresentOptions
from gcrm.config.train import TrainOptions, TrainSettings
from gcrm.utils.errors import UserError
from helpers.stage_options import MODELS, OPTIONS, TRAIN

EVALUATE = "--benchmarks gsm8k --completions_data_path c --reward_model_path m --save_dir s".split()


def parsed(model, *argv):
    return parse(model, "stage", list(argv))[0]


def refusal(model, *argv):
    """The one line that a wrong command ends in."""
    with pytest.raises(UserError) as error:
        parsed(model, *argv)
    assert "\n" not in str(error.value)
    return str(error.value)


# The original commands, without the name of the script.


def values_of(option):
    """The values of an option as on a command line; none for a flag."""
    value = option.get_secret_value() if isinstance(option, SecretStr) else option
    return value if isinstance(value, list) else [] if value is True else [value]


@pytest.mark.parametrize(
    ("model", "command"),
    [
        (
            TrainOptions,
            """--save_path ./ckpt/contrastive_reward_model --save_steps -1 --logging_steps 1
            --eval_steps -1 --train_batch_size 64 --micro_train_batch_size 1 --pretrain model
            --bf16 --max_epochs 1 --max_len 2048 --zero_stage 3 --learning_rate 9e-6
            --dataset data --dataset_probs 1.0 --contrastive_loss_beta 0.5 --unsim_samples 16
            --flash_attn --gradient_checkpointing --use_wandb key --wandb_project project
            --wandb_group group --wandb_org org --reward_model_strategy contrastive
            --contrastive_strategy cosine --value_head_strategy linear
            --source_state_percentile 0 --goal_state_percentile 0""",
        ),
        (TrainOptions, "--save_path s --pretrain m --dataset d --reward_model_strategy vanilla"),
        (RepresentOptions, "--dataset-path data --reward-model-path model --save-dir goal"),
        (
            EvaluateOptions,
            """--completions_data_path completions --goal_state_path goal.npy
            --reward_model_path model --save_dir results --filter_threshold 0.0
            --benchmarks gsm8k math gsm-hard mawps asdiv algebra222 svamp""",
        ),
        (
            EvaluateOptions,
            """--completions_data_path completions --vanilla --reward_model_path model
            --save_dir results --filter_threshold 0.0 --benchmarks gsm8k""",
        ),
        (
            MetricsOptions,
            """--model_name model --eval_results_dir results --filter_threshold 0.0
            --benchmarks gsm8k math --percentiles 0.0 0.5 1.0 --vanilla""",
        ),
    ],
)
def test_original_commands(model, command):
    options = parsed(model, *command.split())
    given = [part.split() for part in command.split("--")[1:]]
    assert options.model_fields_set == {name.replace("-", "_") for name, *_ in given}
    for name, *words in given:
        values = values_of(getattr(options, name.replace("-", "_")))
        words = [{"cosine": "sgs"}.get(word, word) for word in words]  # has its paper's name here
        assert values == [type(one)(word) for one, word in zip(values, words, strict=True)]


@pytest.mark.parametrize(
    ("original", "name"), [("cosine", "sgs"), ("cosine_avg", "completion_avg")]
)
def test_strategies_of_the_original_commands(original, name):
    """Are the same settings, on the command line and as params of a rule."""
    options = [
        parsed(TrainOptions, *TRAIN, "--contrastive_strategy", word) for word in (original, name)
    ]
    assert options[0] == options[1] and options[0].contrastive_strategy == name
    assert flags(options[0]) == flags(options[1])


# Spellings.


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


def test_flags_can_be_negated():
    assert parsed(TrainOptions, *TRAIN, "--bf16").bf16
    assert not parsed(TrainOptions, *TRAIN, "--bf16", "--no_bf16").bf16
    assert not parsed(TrainOptions, *TRAIN, "--no-bf16").bf16


@pytest.mark.parametrize(
    "words", [["--dataset", "a", "b"], ["--dataset", "a, b"], ["--dataset", "a", "--dataset", "b"]]
)
def test_lists(words):
    words = [*words, "--dataset_probs", "0.9,0.1"]
    options = parsed(TrainOptions, "--pretrain", "m", "--save_path", "s", *words)
    assert options.dataset == ["a", "b"] and options.dataset_probs == [0.9, 0.1]


def test_a_file_name_may_contain_a_comma(tmp_path):
    path = tmp_path / "a,b.jsonl"
    path.write_text("")
    options = parsed(TrainOptions, *TRAIN[:2], "--dataset", str(path), *TRAIN[4:])
    assert options.dataset == [str(path)]


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
        (
            "--contrastive_strategy dot",
            "--contrastive_strategy: Input should be 'sgs', 'rs', 'avg'",
        ),
        ("--contrastive_strategy cosine_single", "is now called single_goal (got 'cosine_single')"),
        ("--contrastive_strategy avg --positives cross", "positives: cross does nothing with avg"),
        ("--contrastive_mean batch --parity official", "does not support contrastive_mean"),
        ("--dataset_probs 0.5 0.5", "dataset_probs has 2 numbers for 1 datasets"),
        ("--dataset_probs 0.5", "dataset_probs must be positive and add to 1"),
        ("--train_batch_size 6 --micro_train_batch_size 4", "must be a multiple of"),
        ("--seed -1", "--seed: Input should be greater than or equal to 0"),
        ("--seed 4294967296", "--seed: Input should be less than or equal to 4294967295"),
    ],
)
def test_mistakes_are_refused_in_one_line(words, message):
    assert message in refusal(TrainOptions, *TRAIN, *words.split())


@pytest.mark.parametrize("name", ["filter_threshold", "skip_tokens", "bootstrap_resamples"])
def test_an_option_of_several_stages_has_the_same_bounds(name):
    bounds = [
        model.model_fields[name].metadata for model in MODELS.values() if name in model.model_fields
    ]
    assert len(bounds) > 2 and bounds[0] and all(one == bounds[0] for one in bounds)


def test_all_missing_options_are_named():
    assert refusal(TrainOptions, "--pretrain", "m") == (
        "--save_path: is missing; give it a value; --dataset: is missing; give it a value"
    )
    assert "--dataset: Value should have at least 1 item" in refusal(
        TrainOptions, *TRAIN[:2], *TRAIN[4:], "--dataset"
    )


def test_a_mistake_in_several_options_names_no_single_one():
    message = refusal(EvaluateOptions, *EVALUATE)
    assert message == "give either --goal_state_path or --vanilla"


def test_the_goal_state_of_an_attribute_lies_in_the_folder():
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
@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("p.jsonl, row 3: is empty"), 1, "train: error: p.jsonl, row 3: is empty"),
        (UserError("a\nb.jsonl: is empty"), 1, "train: error: a\\nb.jsonl: is empty"),
        (KeyboardInterrupt(), 130, "train: interrupted"),
    ],
)
def test_mistakes_and_interruptions_are_one_line(tmp_path, capsys, error, status, line, with_log):
    def run(options):
        raise error

    log = tmp_path / "train.log"
    assert run_train(run, *["--log_file", str(log)] * with_log) == status
    assert capsys.readouterr().err == line + "\n"
    assert log.exists() == with_log and (not with_log or "ERROR gcrm: train: " in log.read_text())


def test_python_without_docstrings_is_refused():
    command = [sys.executable, "-OO", "-m", "gcrm.metrics", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("metrics: error: Python drops docstrings here")
    assert ended.stderr.count("\n") == 1


def test_a_defect_keeps_its_traceback_in_the_log(tmp_path, capsys):
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


def test_wrong_commands_are_one_line(capsys):
    assert run_train(None, "--bogus") == 1
    assert run_train(None, "--log_file", "/dev/null/train.log") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "train: error: unknown option --bogus; --help explains every option"
    assert second.startswith(
        "train: error: /dev/null/train.log: cannot be written: there is a file"
    )


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


def test_help_lists_every_stage(capsys, monkeypatch):
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
def test_words_that_name_no_stage(capsys, monkeypatch, words, status, shown):
    monkeypatch.setattr(sys, "argv", ["gcrm", *words])
    assert main() == status
    said = capsys.readouterr()
    assert shown in (said.err if status else said.out)
    assert not status or said.err.count("\n") == 1


@pytest.mark.filterwarnings("ignore:'gcrm.export' found in sys.modules")
def test_a_stage_gets_its_words(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["gcrm", "export", "--scores", "none.parquet", "--output", "x"]
    )
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("export: error: none.parquet: ")


def test_help_of_a_stage_loads_neither_torch_nor_pandas():
    code = "import sys; sys.argv = ['gcrm', 'train', '--help']; from gcrm.__main__ import main\n"
    code += "try: main()\n"
    code += "except SystemExit: print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m gcrm.train ")
    assert done.stdout.splitlines()[-1] == "[]"


# Settings as flags, and back: what a workflow rule does.

awkward = st.text("ab-_ '\";$\\,=é%\n", min_size=1).filter(lambda text: text != "--")
fields = {
    TrainOptions: {
        "pretrain": awkward,
        "dataset": st.lists(awkward, min_size=1, max_size=3),
        "save_path": awkward.map(Path),
        "wandb_group": st.none() | awkward,
        "use_wandb": st.none() | awkward,
        "bf16": st.booleans(),
        "save_steps": st.integers(-1, 10),
        "adam_betas": st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
        "positives": st.sampled_from(["future", "cross"]),
    },
    EvaluateOptions: {
        "reward_model_path": awkward,
        "goal_state_path": awkward.map(Path),
        "completions_data_path": awkward.map(Path),
        "save_dir": awkward.map(Path),
        "benchmarks": st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True),
        "filter_threshold": st.floats(-1, 1) | st.just(-1e-5),
    },
    CostOptions: {
        "config": awkward.map(Path),
        "sizes": st.dictionaries(awkward, st.integers(1, 9)),
    },
}


@pytest.mark.parametrize("model", fields)
@given(data=st.data())
def test_settings_survive_the_command_line(model, data):
    try:
        made = model(**data.draw(st.fixed_dictionaries(fields[model])))
    except ValidationError:  # for example, the same name for input and output
        reject()
    line = flags(made)
    again = parsed(model, *shlex.split(line))
    assert again.model_dump(exclude={"use_wandb"}) == made.model_dump(exclude={"use_wandb"})
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
