"""Digests of results: the same for the same numbers, whoever wrote them; else they name where."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from gcrm.config.loading import load
from gcrm.lineage.digests import digests_of, first_difference, told
from gcrm.utils.errors import UserError
from gcrm.verify import VerifyOptions, run, verdict
from helpers.workflow_runs import SMALL, write_config

WEIGHTS = {"a.weight": np.arange(6, dtype=np.float32), "b.weight": np.ones(2, np.float32)}
SCORES = {"reward": [0.5, -1.0], "q_values": [[0.25], [0.5, 0.125]]}


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base model, scores, metrics and provenance of the run `small` in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/small"
    scores = folder / "scores/vanilla/seed0/gsm8k/greedy"
    for path in (folder / "base_model", scores, folder / "metrics/vanilla/seed0"):
        path.mkdir(parents=True)
    save_file(WEIGHTS, folder / "base_model/model.safetensors", {"format": "pt"})
    (folder / "base_model/config.json").write_text('{"transformers_version": "5.0"}')
    pq.write_table(pa.table(SCORES), scores / "scores.parquet")
    (folder / "metrics/vanilla/seed0/gsm8k.json").write_text("[]")
    (folder / "metrics/vanilla/seed0/gsm8k.json.provenance.json").write_text("{}")
    return folder


def digests(**changes: Any) -> dict[str, Any]:
    return digests_of(load(SMALL | changes, "my.yaml"))


def test_each_tensor_and_table_has_a_digest_in_the_order_of_the_data_flow() -> None:
    found = digests()["results"]
    assert list(found) == ["pretrain", "evaluate", "metrics"]
    model = "base_model/model.safetensors"
    assert list(found["pretrain"]) == [f"{model}, a.weight", f"{model}, b.weight"]
    assert list(found["metrics"]) == ["metrics/vanilla/seed0/gsm8k.json"]


def test_versions_in_files_do_not_count(results: Path) -> None:
    before = digests()
    save_file(WEIGHTS, results / "base_model/model.safetensors", {"written_by": "another version"})
    (results / "base_model/config.json").write_text('{"transformers_version": "6.0"}')
    (results / "metrics/vanilla/seed0/gsm8k.json.provenance.json").write_text('{"seconds": 3}')
    table = pa.table(SCORES).replace_schema_metadata({"made": "elsewhere"})
    scores = results / "scores/vanilla/seed0/gsm8k/greedy/scores.parquet"
    pq.write_table(table, scores, compression="zstd", row_group_size=1)
    assert digests() == before
    assert first_difference(digests(), before) is None
    assert (
        told(digests(), before)
        == "identical to the published run: 4 files and tensors, bit for bit"
    )


def test_one_bit_is_found_and_its_stage_and_tensor_are_named(results: Path) -> None:
    before = digests()
    changed = np.nextafter(WEIGHTS["b.weight"], np.float32(2))
    save_file(WEIGHTS | {"b.weight": changed}, results / "base_model/model.safetensors")
    (results / "metrics/vanilla/seed0/gsm8k.json").write_text("[1]")
    now = digests()
    assert first_difference(now, before) == ("pretrain", "base_model/model.safetensors, b.weight")
    assert "first in pretrain: base_model/model.safetensors, b.weight" in told(now, before)
    assert told(now, before).endswith("so this is a matter of the CPU")


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ({"versions": {"torch": "2.0.0"}}, "the libraries differ (torch "),
        ({"code": {}}, "its code has changed since"),
        (
            {"config": "another"},
            "not compared with the published run: the config ",
        ),
    ],
)
def test_what_is_known_of_the_reason_is_said(then: dict[str, Any], reason: str) -> None:
    before = digests()
    before["results"]["pretrain"]["base_model/model.safetensors, a.weight"] = "0"
    assert reason in told(digests(), before | then)


def test_a_result_that_is_not_there_differs_and_one_more_does_not(results: Path) -> None:
    before = digests()
    (results / "comparisons").mkdir()
    (results / "comparisons/gsm8k.json").write_text("[]")
    assert first_difference(digests(), before) is None
    (results / "scores/vanilla/seed0/gsm8k/greedy/scores.parquet").unlink()
    assert "first in evaluate" in told(digests(), before)
    assert told(digests(), before).endswith("it is missing")


@pytest.mark.parametrize(
    "name", ["base_model/model.safetensors", "scores/vanilla/seed0/gsm8k/greedy/scores.parquet"]
)
def test_a_file_that_cannot_be_read_is_named(results: Path, name: str) -> None:
    content = (results / name).read_bytes()
    (results / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"{name}: cannot be read \(.*delete it"):
        digests()


def test_the_command_writes_and_compares(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(Path("my.yaml"), SMALL)
    options = VerifyOptions(config=Path("my.yaml"))
    with pytest.raises(UserError, match=r"digests\.json: no such file"):
        run(options)
    run(options.model_copy(update={"write": True}))
    published = Path("results/published/small/digests.json")
    assert json.loads(published.read_text()) == digests()
    run(options)
    assert capsys.readouterr().out.startswith("identical to the published run")
    (results / "metrics/vanilla/seed0/gsm8k.json").write_text("[1]")
    with pytest.raises(UserError, match="not identical to the published run, first in metrics"):
        run(options)


def test_a_run_says_it_at_its_end_only_if_it_is_the_published_one() -> None:
    config = load(SMALL, "my.yaml")
    assert verdict(config, Path()) is None
    write_config(Path("my.yaml"), SMALL)
    run(VerifyOptions(config=Path("my.yaml"), write=True))
    assert str(verdict(config, Path())).startswith("identical to the published run")
    assert verdict(load(SMALL | {"data_seed": 1}, "my.yaml"), Path()) is None
    assert verdict(load(SMALL | {"gpus": {"train": 1}}, "my.yaml"), Path()) is not None
