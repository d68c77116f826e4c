"""`gcrm push`: what is uploaded, and the model card. The hub is pretended."""

import json
import shutil
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
from gcrm.config.evaluate import EvaluateOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.config.push import PushOptions
from gcrm.evaluate import run as evaluate
from gcrm.metrics import run as run_metrics
from gcrm.push import run
from gcrm.stats.estimates import read_estimates
from gcrm.training.model_card import front_matter
from helpers.score_rows import pick
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


def metrics_of(model: Path, folder: Path) -> Path:
    """The metrics of its own training pairs."""
    scores, metrics = folder / "hh.parquet", folder / "hh.json"
    pairs = str(model.parent / "pairs.jsonl")
    words = ["--reward_model_path", str(model), "--dataset", pairs, "--vanilla"]
    assert run_stage(EvaluateOptions, evaluate, [*words, "--output", str(scores)]) == 0
    words = ["--scores", str(scores), "--output", str(metrics), "--vanilla"]
    assert run_stage(MetricsOptions, run_metrics, words) == 0
    return metrics


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
    metrics = metrics_of(model, tmp_path)
    accuracy = pick(read_estimates(metrics), "pairwise_accuracy.reward")
    capsys.readouterr()
    assert push(model, "--metrics", metrics, "--dry_run") == 0
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
    results = {result.metric_type: result for result in card.data.eval_results}
    result = results["pairwise_accuracy.reward"]
    assert result.dataset_split == "pairs"
    assert set(results) == {"margin", "pairwise_accuracy.reward"}  # no differences, no length
    assert result.metric_value == pytest.approx(accuracy.value, abs=1e-4)
    interval = f"{accuracy.low:.3f} to {accuracy.high:.3f}"
    assert result.metric_name == f"pairwise_accuracy.reward (95 % interval {interval})"
    row = f"| pairs | pairwise_accuracy.reward | {accuracy.value:.3f} | {interval} | 24 |"
    assert row in " ".join(card.text.split())


def test_metrics_of_another_model_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = metrics_of(model, tmp_path)
    other = shutil.copytree(model, tmp_path / "other")
    (other / "training_log.jsonl").write_text("")
    (tmp_path / "moved.json").write_bytes(metrics.read_bytes())
    for path, told in ((metrics, "another model than"), (tmp_path / "moved.json", "provenance of")):
        capsys.readouterr()
        assert push(other, "--metrics", path, "--dry_run") == 1
        assert told in capsys.readouterr().err


def test_the_front_matter_names_what_is_on_the_hub() -> None:
    """And nothing else; the hub refuses paths there."""
    data = "owner/ultrafeedback:train_prefs"
    card = ModelCard(front_matter("owner/base", [data, "pairs.jsonl"], standard=True))
    assert card.data.base_model == "owner/base"
    assert card.data.datasets == ["owner/ultrafeedback"]
    card = ModelCard(front_matter("./base", ["pairs.jsonl"], standard=False))
    assert card.data.to_dict() == {"tags": ["reward-model", "goal-conditioned", "gcrm"]}


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
