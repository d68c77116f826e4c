"""`gcrm push`: what is uploaded, and the model card. The hub is pretended."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import AutoTokenizer, pipeline

from gcrm import RewardModel
from gcrm.cli import run_stage
from gcrm.config.push import PushOptions
from gcrm.push import run
from gcrm.stats.estimates import estimates_frame, write_estimates
from helpers.training import train, training_folder

KEPT = {"model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
KEPT |= {"config.json", "README.md", "reward_model.json", "training_log.jsonl"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    status, folder = train(training_folder(tmp_path_factory.mktemp("push")), "rm")
    assert status == 0
    return Path(folder)


def push(model: Path, *flags: str | Path, repo: str = "owner/math-rm") -> int:
    words = ["--reward_model_path", model, "--repo", repo, *flags]
    return run_stage(PushOptions, run, list(map(str, words)))


def metrics_file(path: Path) -> Path:
    known = {"benchmark": "gsm8k", "split": "greedy", "n": 200, "value": 0.71234}
    interval = {"low": 0.65, "high": 0.77}
    rows = [
        {"metric": "auroc.reward", **known, **interval},
        {"metric": "auroc.length", **known, **interval},
        {"metric": "auroc.reward_minus_length", **known, **interval},
        {"metric": "partial_auroc.reward", "at": 0.5, **known, **interval},
        {"metric": "num_problems", **known},
    ]
    write_estimates(path, estimates_frame(rows))
    return path


def test_the_pipeline_gives_raw_rewards(model: Path) -> None:
    """As the card says; without `problem_type` it would put a sigmoid on them."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    pipe = pipeline("text-classification", model=str(model))
    question, solutions = "tom has 3 apples .", ["3 + 4 = 7 . answer 7", "answer 9"]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    texts = [prompt + solution + " " + tokenizer.eos_token for solution in solutions]
    found = [one["score"] for one in pipe(texts, add_special_tokens=False, batch_size=2)]
    assert found == pytest.approx(
        RewardModel.from_pretrained(model).score(question, solutions).reward.tolist(), abs=1e-5
    )
    config = json.loads((model / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert not (model / "generation_config.json").exists()


def test_a_dry_run_shows_all_and_uploads_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in model.iterdir() if path.is_file()}
    assert push(model, "--metrics", metrics_file(tmp_path / "m.json"), "--dry_run") == 0
    shown = capsys.readouterr()
    assert {line.split(": ")[1] for line in shown.err.splitlines() if "bytes" in line} == KEPT
    assert "not uploaded: provenance.json" in shown.err
    assert {path: path.read_bytes() for path in before} == before
    card = ModelCard(shown.out)
    assert card.data.to_dict() == yaml.safe_load(shown.out.split("---")[1])
    assert (card.data.library_name, card.data.pipeline_tag) == (
        "transformers",
        "text-classification",
    )
    [result] = card.data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("gsm8k", "greedy")
    assert (result.metric_type, result.metric_value) == ("auroc.reward", 0.7123)
    assert result.metric_name == "auroc.reward (95 % interval 0.650 to 0.770)"
    assert "| gsm8k | greedy | auroc.reward | 0.712 | 0.650 to 0.770 | 200 |" in card.text


class Hub:
    """Records what the stage asks the hub's client for."""

    asked: list[Any]

    def create_repo(self, repo: str, private: bool, exist_ok: bool) -> None:
        self.asked.append((repo, private))
        if repo.startswith("nobody/"):
            raise ValueError("401 Client Error:\nno rights")

    def create_commit(self, repo: str, operations: list[Any], commit_message: str) -> Any:
        self.asked.append(
            {one.path_in_repo: b"".join([_content(one.path_or_fileobj)]) for one in operations}
        )
        return SimpleNamespace(commit_url=f"https://hub/{repo}/commit/1")


def _content(source: Any) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def test_an_upload_is_private_and_holds_no_path_of_this_machine(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Hub.asked = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert push(model) == 0 and push(model, "--public") == 0
    (_, private), files, (_, public), _ = Hub.asked
    assert private and not public and set(files) == KEPT
    assert files["model.safetensors"] == (model / "model.safetensors").read_bytes()
    assert not [name for name, content in files.items() if str(model.parent).encode() in content]
    assert json.loads(files["reward_model.json"])["base_model"] == "base"
    assert "https://hub/owner/math-rm/commit/1" in capsys.readouterr().err
    assert push(model, repo="nobody/rm") == 1
    assert "nobody/rm: cannot be uploaded: 401 Client Error: no rights" in capsys.readouterr().err


def test_another_folder_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert push(model.parent / "base") == 1
    assert "has no README.md; expected a folder that `train` wrote" in capsys.readouterr().err
