"""What the small run of the whole workflow leaves: results, logs, reports, the screen."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gcrm.config.loading import load
from gcrm.lineage.digests import digests_of, first_difference, told
from gcrm.stats.estimates import read_estimates
from gcrm.trace import trace
from gcrm.utils.environment import has_avx2
from gcrm.utils.io import write_json
from helpers.browser import chromium, click_through, errors
from helpers.score_rows import pick
from helpers.workflow_runs import KEYS, TITLE, WHOLE, snakemake

DECIDING = ("torch", "transformers", "tokenizers", "numpy")
"""libraries whose versions decide about the last digits"""


def test_it_ends_with_the_table(small_run: tuple[Path, str]) -> None:
    project, screen = small_run
    report = project / "results/small/report"
    summary = (report / "summary.txt").read_text()
    assert summary.strip() in screen
    for word in ("vanilla", "contrastive", "gsm8k", "dialogues", "synthetic stand-in"):
        assert word in summary
    assert "## Differences between variants" in (report / "report.md").read_text()
    pairs = pd.read_csv(report / "tables/preferences.csv")
    assert set(pairs["benchmark"]) == {"dialogues"}
    assert set(pairs.loc[pairs["metric"] == "pairwise_accuracy.reward", "n"]) == {12}
    assert (report / "figures/auroc.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_shows_solutions_token_by_token(small_run: tuple[Path, str]) -> None:
    page = (small_run[0] / "results/small/report/solutions.html").read_text()
    assert "Not shown" not in page
    assert page.count('<div class="tokens">') == 2 * page.count('<div class="solution ') > 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "html"])
def test_snakemakes_own_report_shows_everything(
    small_run: tuple[Path, str], tmp_path: Path, kind: str
) -> None:
    project, _ = small_run
    made = snakemake(project, "--report", str(tmp_path / f"report.{kind}"))
    assert made.returncode == 0, made.stderr
    page = tmp_path / "report.html"
    if kind == "zip":
        shutil.unpack_archive(tmp_path / "report.zip", tmp_path)
        page = tmp_path / "report" / "report.html"
    report = project / "results/small/report"
    files = [*report.glob("figures/*.svg"), *report.glob("tables/*"), report / "solutions.html"]
    assert len(files) == 17 + 17 * 4 + 1
    with chromium() as window:
        shown = click_through(window, page)
        assert shown == {str(file.relative_to(project)) for file in files}
        assert errors(window) == []


def test_values_of_the_config_reach_a_shell_quoted(small_run: tuple[Path, str]) -> None:
    project, _ = small_run
    assert TITLE in (project / "results/small/report/report.md").read_text()
    provenance = project / "results/small/tracking/metrics.jsonl.provenance.json"
    tracked = json.loads(provenance.read_text())
    assert tracked["options"]["wandb_group"] == TITLE
    assert not list(project.rglob("pwned"))


def test_keys_are_in_no_file_of_a_run_and_not_on_the_screen(small_run: tuple[Path, str]) -> None:
    """Results, provenance, logs, Snakemake's own records, and what wandb keeps."""
    project, screen = small_run
    files = [path for path in project.rglob("*") if path.is_file()]
    assert any(".snakemake" in path.parts for path in files)
    assert any(path.suffix == ".wandb" for path in files)
    for secret in KEYS.values():
        assert secret not in screen
        assert [str(p) for p in files if secret.encode() in p.read_bytes()] == []


def test_the_screen_says_stage_step_and_time(small_run: tuple[Path, str]) -> None:
    _, screen = small_run
    assert "Job 6: " in screen or "Job 7: " in screen
    assert "pretrain" in screen and "100/100, done in" in screen
    assert "Reason:" not in screen


def test_every_result_is_there_with_its_provenance(small_run: tuple[Path, str]) -> None:
    results = small_run[0] / "results/small"
    for variant in ("vanilla", "contrastive"):
        state = np.load(results / f"goal_states/{variant}/seed0/goal_state.npy")
        assert (state.shape, state.dtype) == ((1, 64), np.float32)
        home = results / f"scores/{variant}/seed0"
        splits = ["dialogues/pairs", "gsm8k/all", "gsm8k/greedy"]
        assert [str(p.parent.relative_to(home)) for p in sorted(home.rglob("*.parquet"))] == splits
        scores = pd.read_parquet(home / "gsm8k/all/scores.parquet")
        assert sorted(scores["sample"].unique()) == [0, 1]
        for name in ("gsm8k", "dialogues"):
            metrics = read_estimates(results / f"metrics/{variant}/seed0/{name}.json")
            names = metrics[["variant", "seed", "benchmark"]].drop_duplicates()
            assert names.to_numpy().tolist() == [[variant, 0, name]]
    for name, expected in (
        ("gsm8k", {"auroc.reward", "partial_auroc.q_value", "rm_best@n", "filtered.majority@n"}),
        ("dialogues", {"pairwise_accuracy.reward", "margin"}),
    ):
        compared = read_estimates(results / f"comparisons/{name}.json", "compare")
        assert list(compared["variant"].unique()) == ["vanilla", "contrastive"]
        differences = compared[compared["baseline"].eq("vanilla")]
        assert set(differences["variant"]) == {"contrastive"}
        assert expected <= set(differences["metric"])
    made = [
        *results.glob("models/*/*/provenance.json"),
        *results.glob("scores/*/*/*/*/*.provenance.json"),
    ]
    assert len(made) == 2 + 6
    assert {"options", "inputs", "versions", "seconds"} <= json.loads(made[0].read_text()).keys()
    assert not (results / "checkpoints/vanilla/seed0").exists() or not any(
        path.is_file() for path in (results / "checkpoints").rglob("*")
    )


def test_each_job_had_a_gpu_of_its_own_and_says_that_it_computes_on_the_cpu(
    small_run: tuple[Path, str],
) -> None:
    """Pretended GPUs are taken like others; torch, which finds none, takes the CPU."""
    project, screen = small_run
    logs = [*project.glob("results/small/logs/train/*"), *project.glob("results/*/logs/evaluate/*")]
    assert len(logs) == 2 + 6
    for log in logs:
        text = log.read_text()
        assert re.search(r": GPUs: [01]\n", text)
        assert text.count("no GPU: computing on the CPU") == 1
    assert "evaluate: on GPU 0" in screen and "evaluate: on GPU 1" in screen


def test_the_results_are_the_same_bits_on_every_cpu(
    small_run: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of small_digests.json, made on an Intel Xeon with AVX-512 and on an AMD EPYC without.

    The latter made those of `dialogues` only.
    """
    if not has_avx2():
        pytest.skip("no x86-64 CPU with AVX2")
    project, _ = small_run
    monkeypatch.chdir(project)
    now = digests_of(load(WHOLE, "config"))
    then = json.loads(Path(__file__).with_name("small_digests.json").read_text())
    if now["versions"] != now["versions"] | {name: then["versions"][name] for name in DECIDING}:
        reason = "other versions of the libraries than in requirements.lock"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    write_json(project / "small_digests.json", now)
    renew = f"if a change is meant: cp {project}/small_digests.json {Path(__file__).parent}"
    assert first_difference(now, then) is None, f"{told(now, then)}\n{renew}"


def test_the_curve_and_the_final_numbers_are_kept(small_run: tuple[Path, str]) -> None:
    tracking = small_run[0] / "results/small/tracking"
    for variant in ("vanilla", "contrastive"):
        log = small_run[0] / f"results/small/models/{variant}/seed0/training_log.jsonl"
        assert (tracking / f"{variant}-seed0.jsonl").read_text() == log.read_text() != ""
    rows = [json.loads(line) for line in (tracking / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 + 2
    metrics = read_estimates(tracking.parent / "metrics/vanilla/seed0/gsm8k.json")
    value = pick(metrics, "auroc.reward").value
    assert rows[0]["numbers"].get("auroc.reward") == value
    # Trainings, their numbers, and comparisons: kept offline by the real wandb.
    assert len(list((small_run[0] / "wandb").glob("offline-run-*/*.wandb"))) == 2 + 3


def test_a_number_leads_back_to_the_problems_it_began_with(
    small_run: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = small_run
    monkeypatch.chdir(project)
    home = project / "results/small"
    number = "results/small/metrics/contrastive/seed0/gsm8k.json"
    told = trace(Path(number), "auroc.reward")
    value = pick(read_estimates(project / number), "auroc.reward").value
    assert told["value"]["value"] == value
    assert [step["stage"] for step in told["steps"]] == [
        *("prepare", "pretrain", "sample", "pair", "train", "represent", "sample", "evaluate"),
        *("evaluate", "metrics"),
    ]
    assert [step["differs"] for step in told["steps"]] == [[]] * 10
    # All results have a stage that made them, and that nothing here differs from.
    results = [*home.glob("metrics/*/*/*.json"), *home.glob("comparisons/*.json")]
    results += home.glob("goals/*/seed0.jsonl")
    results += home.glob("generate/*/seed0/gsm8k/estimates.json")
    results += [home / "report/report.md", home / "report/figures/auroc.svg"]
    results += [home / "data/report.json", home / "tracking/metrics.jsonl"]
    results = [path for path in results if ".provenance" not in path.name]
    assert len(results) == 4 + 2 + 2 + 2 + 4
    for path in results:
        told = trace(path.relative_to(project))
        assert {"prepare"} <= {step["stage"] for step in told["steps"]}, path
        assert [step["differs"] for step in told["steps"] if step["rebuild"]] == [], path
