"""What README and docs tell to type and to look up must exist."""

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gcrm
from gcrm import cli
from gcrm.config.base import Settings
from gcrm.data.scores import ScoreTable, Split
from gcrm.stats.compute import compute_metrics
from helpers.score_rows import columns

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "config/README.md", "results/**/*.md")
    for path in ROOT.glob(pattern)
    if path.name == "README.md" or "results" not in path.parts or "published" in path.parts
)
SPLITS: tuple[Split, ...] = ("greedy", "all", "pairs")
NO_STAGES = {"gpus", "trace"}
"""commands whose words are tested elsewhere: they have no options model"""
SNAKEMAKE_FLAGS = {
    "--cores",
    "--configfile",
    "--config",
    "--workflow-profile",
    "--report",
    "--unlock",
    "--resources",
    "-n",
}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code_lines(page: Path) -> list[str]:
    """The lines of the blocks of code of a page: fenced or indented, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}(\S.*)$", text, flags=re.MULTILINE)
    return [line.strip() for block in fenced for line in block.splitlines()] + indented


def commands(program: str) -> list[tuple[str, str]]:
    return [
        (name(page), line)
        for page in PAGES
        for line in code_lines(page)
        if re.match(rf"{program}(\s|$)", line)
    ]


STAGE_COMMANDS = commands(r"python -m gcrm\.\w+") + commands(r"gcrm \w+")


def test_pages_have_commands() -> None:
    """The patterns above find what they are meant for."""
    pages = {page for page, _ in STAGE_COMMANDS}
    assert {"docs/commands.md", "docs/paper.md"} <= pages
    assert {"README.md", "docs/workflow.md"} <= {page for page, _ in commands("snakemake")}


@pytest.mark.parametrize(("page", "line"), STAGE_COMMANDS)
def test_stage_commands_are_accepted(page: str, line: str) -> None:
    """Each stage exists and takes the options that the page gives it."""
    words = shlex.split(line, comments=True)
    stage, *options = words[2:] if words[0] == "python" else words[1:]
    stage = stage.removeprefix("gcrm.")
    assert importlib.util.find_spec(f"gcrm.{stage}") is not None
    if stage in NO_STAGES:
        return
    settings = importlib.import_module(f"gcrm.config.{stage}")
    model: type[Settings] = getattr(settings, f"{stage.capitalize()}Options")
    cli.parse(model, stage, options)


@pytest.mark.parametrize(("page", "line"), commands("snakemake"))
def test_snakemake_commands_name_flags_and_configs_that_exist(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    assert {word for word in words if word.startswith("-")} <= SNAKEMAKE_FLAGS
    for flag in ("--configfile", "--workflow-profile"):
        if flag in words:
            assert (ROOT / words[words.index(flag) + 1]).exists()


def test_the_snakemake_flags_are_snakemakes() -> None:
    usage = subprocess.run(
        [sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [flag for flag in SNAKEMAKE_FLAGS if not re.search(rf"{flag}\b", usage)] == []


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    named = {
        found
        for page in PAGES
        for found in re.findall(r"(?:^(?: {4})?|`)make ([a-z]+)", page.read_text(), re.MULTILINE)
    }
    assert {"reproduce", "test", "docs"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_point_to_files_and_headings_that_exist(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if target == ROOT / "docs" / "configuration.md":
            target = ROOT / "config" / "README.md"  # docs/hooks.py puts it there
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_named_in_the_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:config|docs|gcrm|workflow|tests|benchmarks)/[\w./-]*)`", text)
    paths += re.findall(r"`(results/published/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_published_runs_are_small() -> None:
    """What the runs write again by themselves is not in git: no SVG, no HTML, three PNG at most."""
    for run in (ROOT / "results" / "published").iterdir():
        files = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
        assert "README.md" in files
        assert len([file for file in files if file.endswith(".png")]) <= 3
        kept = r"\w+\.md|(digests|provenance)\.json|tables/\w+\.csv|figures/[\w.-]+\.png"
        assert [file for file in files if not re.fullmatch(kept, file)] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_readme_has_the_table_of_the_published_run() -> None:
    report = (ROOT / "results" / "published" / "tiny" / "report.md").read_text()
    table = re.search(r"(?:^\|.*\n)+", report, flags=re.MULTILINE)
    assert table and "AUROC" in report[: table.start()]
    assert table[0] in (ROOT / "README.md").read_text()


def test_the_whole_public_api_is_documented() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    documented = {found.rpartition(".")[2] for found in re.findall(r"^::: (\S+)$", page, re.M)}
    assert documented >= set(gcrm.__all__)


def test_every_metric_is_documented_and_every_documented_metric_is_computed() -> None:
    text = (ROOT / "docs" / "data-formats.md").read_text()
    pairs = columns(problems=20, per_problem=2)
    pairs |= {"label": np.tile([True, False], 20), "group": np.repeat(np.arange(20), 2)}
    del pairs["expected_answer"], pairs["predicted_answer"]
    samples = columns(problems=40, per_problem=4)
    ends = zip(samples["num_tokens"], samples["label"], strict=True)
    samples["true_values"] = [[*[np.nan] * (tokens - 1), right] for tokens, right in ends]
    made = {
        "greedy": columns(problems=40),
        "all": samples,
        "pairs": pairs | {"sample": np.zeros(40)},
    }
    tables: dict[str, ScoreTable] = {key: ScoreTable.of(key, made[key]) for key in SPLITS}
    frame = compute_metrics(tables["greedy"], tables["all"])
    frame = pd.concat([frame, compute_metrics(tables["pairs"])])
    for split in SPLITS:
        section = text.partition(f"(`{split}`)\n")[2].partition("\n### ")[0]
        documented = set(re.findall(r"^\| `(\S+)`", section, flags=re.MULTILINE))
        computed = set(frame[frame["split"] == split]["metric"])
        assert documented == {name for name in computed if "_minus_" not in name}


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert "RewardModel" in (tmp_path / "api" / "index.html").read_text()
    assert "dataset_probs" in (tmp_path / "configuration" / "index.html").read_text()
    fetched = re.findall(r'<(?:script|link)[^>]*(?:src|href)="https?:[^"]*"', all_html(tmp_path))
    assert [tag for tag in fetched if "canonical" not in tag] == []


def all_html(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.rglob("*.html"))
