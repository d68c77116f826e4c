from pathlib import Path

import pytest

from gcrm.lineage.fingerprint import closure, content_hash, describe, source_hash

STAGES = [
    *("prepare", "pretrain", "sample", "pair", "train", "represent", "evaluate", "metrics"),
    *("compare", "goals", "generate", "steer"),
]

BEFORE = '''
"""What it is for."""

LIMIT = 3
"""pairs"""


def half(number):
    """Half of it."""
    if number:
        # exactly
        return number / 2
    return 0
'''

SAME = '''"""Said in other words,

over several lines."""
LIMIT = 3   # pairs, at the most

def half(number):
  """Half."""

  if number:
      return number/2  # no remainder
  return 0
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package `pack` with a lazy API, as gcrm is."""
    files = {
        "__init__.py": "from pack.always import x\ndef __getattr__(name):\n    import pack.api\n",
        "always.py": "x = 1\n",
        "api.py": "from pack import heavy\n",
        "heavy.py": "import torch\n",
        "stage.py": "def run():\n    from .tools import helper\n",
        "tools/__init__.py": "",
        "tools/helper.py": "from ..base import thing\n",
        "base.py": "thing = 1\n",
        "typed.py": "import typing\nif typing.TYPE_CHECKING:\n    import pack.heavy\n",
        "user.py": "from pack import api_name\n",
        "plots.py": "import pack.base\n",
    }
    for name, text in files.items():
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pack"


def hash_of(tmp_path: Path, text: str) -> str:
    path = tmp_path / f"{abs(hash(text))}.py"
    path.write_text(text)
    return source_hash(path)


def test_comments_docstrings_and_layout_have_no_meaning(tmp_path: Path) -> None:
    assert hash_of(tmp_path, SAME) == hash_of(tmp_path, BEFORE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("number / 2", "number // 2"),
        ("        return number / 2", "        return number / 2\n    return 1"),
        ("    return 0\n", "        return 0\n"),
        ("return 0", "return '0'"),
        ("def half", "def third"),
    ],
)
def test_what_the_program_does_has(tmp_path: Path, old: str, new: str) -> None:
    assert old in BEFORE
    assert hash_of(tmp_path, BEFORE.replace(old, new, 1)) != hash_of(tmp_path, BEFORE)


def test_strings_that_are_used_count(tmp_path: Path) -> None:
    assert hash_of(tmp_path, "x = 'a'\n") != hash_of(tmp_path, "x = 'b'\n")
    assert hash_of(tmp_path, "f('a')\n") != hash_of(tmp_path, "f('b')\n")
    assert hash_of(tmp_path, "f(\n    'a'\n)\n") != hash_of(tmp_path, "f(\n    'b'\n)\n")


def test_imports_are_followed_in_functions_too(package: Path) -> None:
    assert set(closure("pack.stage", package)) == {
        *("pack", "pack.always", "pack.base", "pack.stage", "pack.tools", "pack.tools.helper"),
    }


def test_the_lazy_api_belongs_to_those_who_use_it(package: Path) -> None:
    assert "pack.heavy" not in closure("pack.plots", package)
    assert "pack.heavy" in closure("pack.user", package)


def test_imports_for_types_alone_never_run(package: Path) -> None:
    assert "pack.heavy" not in closure("pack.typed", package)


def test_the_description_names_module_number_and_version(package: Path) -> None:
    assert describe("pack.plots", package).startswith(
        "pack.plots and 3 modules it imports, version"
    )
    before = describe("pack.stage", package)
    (package / "plots.py").write_text("changed = 1\n")
    assert describe("pack.stage", package) == before


def test_templates_beside_the_modules_that_are_reached_count(package: Path) -> None:
    def versions() -> list[str]:
        return [describe(f"pack.{module}", package) for module in ("stage", "plots")]

    (package / "tools/page.html.j2").write_text("<p>")
    stage, plots = versions()
    (package / "tools/page.html.j2").write_text("<b>")
    assert versions()[0] != stage and versions()[1] == plots


def test_an_unknown_module_is_an_error(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no module pack\.nothing"):
        closure("pack.nothing", package)


@pytest.mark.parametrize("stage", STAGES)
def test_plots_and_tables_reach_no_stage_but_the_report(stage: str) -> None:
    reached = closure(f"gcrm.{stage}")
    assert "gcrm.plots" not in reached
    assert "gcrm.report" not in reached
    assert {"gcrm.cli", f"gcrm.config.{stage}"} <= reached.keys()


def test_stages_without_torch_do_not_reach_the_models() -> None:
    for stage in ("prepare", "pair", "metrics", "report", "export"):
        assert "gcrm.modeling.reward_model" not in closure(f"gcrm.{stage}")


def test_files_are_hashed_by_content_and_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("1")
    second.write_text("2")
    assert content_hash([first, second]) == content_hash([first, second])
    assert content_hash([first, second]) != content_hash([second, first])
    assert len(content_hash([])) == 12
