"""What Snakemake cannot read ends in one line, before it could end in a traceback."""

from pathlib import Path

import pytest
import yaml

from gcrm.config.early import check_command_line
from helpers.workflow_runs import ROOT, SMALL, copy_project, snakemake, write_config


def said(*words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        check_command_line(words)
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code
    return ended.value.code


@pytest.fixture(autouse=True)
def default_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_config(Path("config/config.yaml"), SMALL)
    return tmp_path / "config/config.yaml"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (bytes(range(256)), "cannot be read as a config: 'utf-8' codec can't decode byte 0x80"),
        (b"a: [1", "line 1, column 4"),
        (b"- a", "expected keys with values"),
        (b"", "expected keys with values"),
        (b"__use_yte__: true\nrun: ?nope", "section /run: NameError: name 'nope' is not defined"),
        (b"__use_yte__: true\n__definitions__: 3", "expects a list of Python statements"),
    ],
)
def test_a_config_file(default_config: Path, content: bytes | None, reason: str) -> None:
    """Given, or the default."""
    if content is not None:
        Path("own.yaml").write_bytes(content)
    message = said("--configfile", "config/config.yaml", "own.yaml")
    assert message.startswith("own.yaml: ") and reason in message
    if content is None:
        default_config.unlink()
    else:
        default_config.write_bytes(content)
    assert said("-n").startswith("config/config.yaml: ")
    assert said("--directory", "/nowhere").startswith("/nowhere/config/config.yaml: ")


def test_entries_of_config() -> None:
    assert said("--config", "nonsense").startswith("--config nonsense: expected name=value: ")
    assert said("--config", "run=a", "=b").startswith("--config =b: expected name=value: ")
    check_command_line(["--config", "run=a", "seeds=[1]"])


def test_templates_that_work_stay() -> None:
    Path("own.yaml").write_text("__use_yte__: true\nrun: ?'a' + 'b'\n")
    check_command_line(["--configfile", "own.yaml"])


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_both_profiles_ask_for_it(profile: str) -> None:
    content = yaml.safe_load((ROOT / f"workflow/profiles/{profile}/profile.yaml").read_text())
    assert content["__use_yte__"] is True
    assert "check_command_line()" in content["__definitions__"][0]


def test_snakemake_says_it_in_one_line(tmp_path: Path) -> None:
    """With the package beside the workflow, from another folder, too."""
    project = copy_project(tmp_path / "project")
    (project / "gcrm/config/early.py").write_text(
        (project / "gcrm/config/early.py").read_text().replace("expected name", "EXPECTED name")
    )
    (project / "own.yaml").write_bytes(bytes(range(256)))
    asked = snakemake(project, "-n", "--configfile", "own.yaml")
    lines = [line for line in asked.stderr.splitlines() if not line.startswith("Using workflow")]
    assert asked.returncode == 1 and len(lines) == 1, asked.stderr
    assert lines[0].startswith("own.yaml: cannot be read as a config: ")
    elsewhere = ("-n", "-s", f"{project}/workflow/Snakefile", "--config", "nonsense")
    (tmp_path / "other").mkdir()
    write_config(tmp_path / "other/config/config.yaml", SMALL)
    asked = snakemake(tmp_path / "other", *elsewhere)
    assert asked.returncode == 1 and "--config nonsense: EXPECTED name" in asked.stderr
    assert "Traceback" not in asked.stderr
