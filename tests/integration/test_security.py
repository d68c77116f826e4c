"""Nothing runs code from data, and nothing is written where data say."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import wandb as installed_wandb

from gcrm.cli import run_stage
from gcrm.config import loading
from gcrm.config.layout import RESULTS
from gcrm.config.sample import SampleOptions
from gcrm.lineage.rules import Rules
from gcrm.modeling.loading import load_language_model, load_reward_model, new_reward_model
from gcrm.modeling.tokenization import Encoder
from gcrm.sample import run as sample
from gcrm.utils.errors import UserError
from gcrm.utils.logging import printable_line
from helpers.models import make_tokenizer, save_base_model
from helpers.training import write_pairs
from helpers.workflow_runs import ROOT, SMALL

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNNERS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "yaml.load",
}
KEYS = {"HF_TOKEN": "hf_0123456789abcdefgh", "WANDB_API_KEY": "9" * 20 + "a" * 20}


def python_sources() -> list[Path]:
    return [*sorted((ROOT / "gcrm").rglob("*.py"))]


def snakefiles() -> list[Path]:
    return [ROOT / "workflow" / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]


@pytest.mark.parametrize("path", python_sources(), ids=lambda path: path.stem)
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not PICKLES & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in PICKLES
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in RUNNERS
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("shell", "False") == "False"
            assert given.get("allow_pickle", "False") == "False"
            assert given.get("trust_remote_code") != "True"
            if ast.unparse(node.func) == "np.load":
                assert given.get("allow_pickle") == "False"


@pytest.mark.parametrize("path", snakefiles(), ids=lambda path: path.name)
def test_rules_take_their_commands_from_one_place(path: Path) -> None:
    """Paths that a rule adds are fields `{…:q}`."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(eval|exec)\(|pickle|\brun:|\bscript:", text)
    commands = re.findall(r"^ +shell:\n +jobs\.shell\((.*)\)$", text, re.MULTILINE)
    assert len(commands) == text.count("shell:")
    for field in re.findall(r"\{([^{}]+)\}", " ".join(commands)):
        assert field.endswith(":q"), field


@pytest.mark.parametrize("stage", RESULTS)
def test_the_shell_gets_quoted_values_only(stage: str) -> None:
    """Values of the config are in `{params.flags}`, which `flags` quotes.

    The launcher is made of numbers alone: see gcrm/config/jobs.py. So are threads.
    """
    command = Rules(loading.load(SMALL, "small.yaml")).shell(stage)
    fields = set(re.findall(r"\{([^{}]+)\}", command))
    assert fields - {"params.threads", "resources.launcher"} == {"params.flags", "log:q"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base_model(tmp_path_factory.mktemp("security") / "base")


class Payload:
    """Pickled, it is a command that is run when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (os.mkdir, (str(self.marker),))


def test_weights_that_would_run_code_do_not(base: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was run"
    folder = tmp_path / "model"
    save_base_model(folder)
    weights = load_language_model(str(folder)).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert load_language_model(str(folder)) is not None  # older weights, without a payload
    torch.save(weights | {"payload": Payload(marker)}, folder / "pytorch_model.bin")
    for load in (
        lambda: load_language_model(str(folder)),
        lambda: new_reward_model(str(folder), "sdpa", 0),
        lambda: load_reward_model(str(folder), torch.float32, "sdpa"),
    ):
        with pytest.raises(UserError, match="cannot be loaded as a model") as told:
            load()
        assert "\n" not in str(told.value)
    assert not marker.exists()


def with_code_of_its_own(folder: Path, marker: Path) -> Path:
    """A model whose config names a module beside it, as those of the hub do."""
    save_base_model(folder)
    (folder / "own.py").write_text(
        f"import os\nos.makedirs({str(marker)!r}, exist_ok=True)\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
        "class OwnRM(LlamaForSequenceClassification):\n    config_class = OwnConfig\n"
    )
    path = folder / "config.json"
    code = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    code["AutoModelForSequenceClassification"] = "own.OwnRM"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"model_type": "own", "auto_map": code})
    )
    return folder


def test_code_that_comes_with_a_model_runs_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "was run"
    folder = with_code_of_its_own(tmp_path / "model", marker)
    with pytest.raises(UserError, match="trust_remote_code"):
        new_reward_model(str(folder), "sdpa", 0)
    with pytest.raises(UserError, match="trust_remote_code"):
        load_language_model(str(folder))
    assert not marker.exists()
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "tom has 1 apples .", "expected_answer": "7"}')
    words = ["--model", str(folder), "--problems", str(problems), "--save_dir", str(tmp_path / "s")]
    assert run_stage(SampleOptions, sample, words) == 1
    assert not marker.exists()
    assert run_stage(SampleOptions, sample, [*words, "--trust_remote_code"]) == 0
    assert marker.exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.mkdir('was run') }}",
        "{% for i in range(10 ** 12) %}x{% endfor %}",
    ],
)
def test_a_chat_template_reaches_nothing_outside_itself(template: str) -> None:
    """Templates come with models and are programs; transformers runs them in a sandbox."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(UserError, match="the chat template") as told:
        Encoder(tokenizer, 64).encode("a question", "an answer")
    assert len(printable_line(str(told.value))) < 500
    assert not Path("was run").exists()


# --- keys ---------------------------------------------------------------------------------------


def holding(folder: Path, secret: str) -> list[str]:
    """The files below a folder that have a secret in them, in their names or as they are."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if secret in path.name or (path.is_file() and secret.encode() in path.read_bytes())
    ]


def test_a_key_that_is_an_option_is_in_nothing_that_training_writes(
    base: Path, tmp_path: Path
) -> None:
    """With the real wandb, offline: its own files are searched, too. (In the environment: see
    `test_end_to_end`.)
    """
    assert installed_wandb.__version__
    write_pairs(tmp_path / "pairs.jsonl")
    words = ["--pretrain", str(base), "--dataset", "pairs.jsonl", "--save_path", "rm"]
    words += ["--train_batch_size", "8", "--micro_train_batch_size", "8", "--max_len", "64"]
    words += ["--log-file", "logs/train.log", "--wandb_project", "p", "--save_steps", "1"]
    environment = {"HF_TOKEN": KEYS["HF_TOKEN"]}
    words += ["--use_wandb", KEYS["WANDB_API_KEY"]]
    done = subprocess.run(
        [sys.executable, "-m", "gcrm.train", *words],
        cwd=tmp_path,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert (tmp_path / "rm" / "provenance.json").exists()
    for secret in KEYS.values():
        assert holding(tmp_path, secret) == []
        assert secret not in done.stdout + done.stderr
