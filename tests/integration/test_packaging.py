"""What is declared, locked, documented and used must be the same thing."""

import ast
import importlib.metadata
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from gcrm.__main__ import main
from gcrm.config.layout import RESULTS
from gcrm.lineage.fingerprint import closure

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
README = (ROOT / "README.md").read_text()

# Declared and used, but imported by others on our behalf.
USED_WITHOUT_IMPORT = {
    "accelerate": "transformers.Trainer cannot run without it",
    "httptools": "uvicorn reads requests with it",
    "tabulate": "pandas writes Markdown tables with it",
}


def lock() -> dict[str, Version]:
    """The pins of requirements.lock: every line that is no comment is `name==version`."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def requirements(*extras: str) -> list[Requirement]:
    texts = PROJECT["dependencies"] + [
        text for extra in extras for text in PROJECT["optional-dependencies"][extra]
    ]
    return [Requirement(text) for text in texts]


def from_cuda_torch(name: str) -> bool:
    return name == "triton" or name.startswith(("nvidia-", "cuda-"))


@pytest.mark.parametrize(
    "requirement", requirements("dev", "docs", "rl", "serve", "slurm"), ids=lambda r: r.name
)
def test_the_lock_satisfies_every_declared_range(requirement: Requirement) -> None:
    pinned = lock()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned, prereleases=True)


def test_the_lock_is_complete() -> None:
    """Every package in it finds its own requirements in it, at versions that it accepts."""
    pins = lock()
    missing = []
    for name in pins:
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            pinned = pins.get(canonicalize_name(needed.name))
            if pinned is None and from_cuda_torch(needed.name):
                continue
            if pinned is None or not needed.specifier.contains(pinned, prereleases=True):
                missing.append(f"{name} needs {needed}, locked is {pinned}")
    assert missing == []


def test_torch_is_pinned_for_cpu_and_gpu_alike() -> None:
    pins = lock()
    assert pins["torch"].local is None
    assert [name for name in pins if from_cuda_torch(name)] == []


def test_conda_installs_the_lock_and_nothing_else() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, last = environment["dependencies"]
    assert last == {"pip": ["-r requirements.lock", "-e ."]}
    assert conda == [f"python={oldest_python()}", "pip"]


def test_one_python_version_everywhere() -> None:
    oldest = oldest_python()
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    assert f"python{oldest} -m venv" in README
    makefile = (ROOT / "Makefile").read_text()
    assert f"version_info < ({oldest.replace('.', ', ')})" in makefile


def oldest_python() -> str:
    (specifier,) = SpecifierSet(PROJECT["requires-python"])
    assert specifier.operator == ">="
    return str(specifier.version)


def test_the_conda_environment_of_jobs_has_what_rules_import_and_the_package() -> None:
    environment = yaml.safe_load((ROOT / "workflow/envs/gcrm.yaml").read_text())
    pins = environment["dependencies"][-1]["pip"]
    assert set(pins) <= set((ROOT / "requirements.lock").read_text().splitlines())
    files = {file for stage in [*RESULTS, "gpus"] for file in closure(f"gcrm.{stage}").values()}
    assert distributions_of(files) - {Requirement(pin).name for pin in pins} == set()
    released = f"{PROJECT['name']}=={PROJECT['version']}"
    assert released in (ROOT / "workflow/envs/gcrm.post-deploy.sh").read_text()


def test_imports_and_dependencies_agree() -> None:
    imported = distributions_of((ROOT / "gcrm").rglob("*.py"))
    declared = {canonicalize_name(requirement.name) for requirement in requirements("rl", "serve")}
    assert imported - declared == set(), "imported, but not in pyproject.toml"
    assert declared - imported - set(USED_WITHOUT_IMPORT) == set(), "in pyproject.toml, but unused"
    assert set(USED_WITHOUT_IMPORT) & imported == set(), "imported: needs no reason"


def distributions_of(files: Iterable[Path]) -> set[str]:
    """The distributions that files import."""
    found = importlib.metadata.packages_distributions()
    modules = third_party_imports(files)
    return {canonicalize_name(name) for module in modules for name in found[module]}


def third_party_imports(files: Iterable[Path]) -> set[str]:
    names = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"gcrm"}


def test_no_function_is_longer_than_fifty_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in (ROOT / "gcrm").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 50
    ]
    assert long == []


def test_the_console_script_is_the_command() -> None:
    script = importlib.metadata.EntryPoint("gcrm", PROJECT["scripts"]["gcrm"], "console_scripts")
    assert script.load() is main


def test_every_package_folder_is_installed() -> None:
    folders = {path.parent for path in (ROOT / "gcrm").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_file_of_the_package_is_installed() -> None:
    """Beside Python's: templates, pages, DeepSpeed's configurations."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [path for path in (ROOT / "gcrm").rglob("*.*") if path.suffix not in (".py", ".pyc")]
    assert {".j2", ".html", ".json"} <= {path.suffix for path in files}
    assert [path for path in files if not any(map(path.match, patterns))] == []


def test_the_hook_and_the_tests_share_one_definition_of_the_checks() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = repository["hooks"]
    assert (repository["repo"], hook["entry"], hook["language"]) == ("local", "make lint", "system")
    assert "\ntest: lint\n" in (ROOT / "Makefile").read_text()


def test_github_and_the_container_use_the_same_set_up() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    (version,) = (s["with"]["python-version"] for s in steps if "setup-python" in s.get("uses", ""))
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert version == oldest_python()
    assert f"FROM python:{oldest_python()}-slim" in dockerfile
    assert "-r requirements.lock" in dockerfile


def test_an_old_python_is_refused_in_one_line() -> None:
    made = subprocess.run(
        ["make", "--always-make", "PYTHON=false", "setup"], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode != 0
    assert made.stderr.splitlines()[0].startswith("Python 3.11 or newer is needed")


def test_ci_sets_up_and_tests_as_a_newcomer_does() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    steps = re.findall(r"^step .* (make \w+)$", script.read_text(), flags=re.MULTILINE)
    assert steps == ["make setup", "make test"]


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
