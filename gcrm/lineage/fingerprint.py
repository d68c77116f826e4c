"""Fingerprints of code and data: short hashes that change with the meaning.

The fingerprint of a module covers all modules of the package that it can import, and the templates
beside them, so that editing a plot never retrains a model. Comments, docstrings, blank lines and
the width of indentation do not count. Other line breaks may count. Files are hashed by content, not
by time or path.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
LAYOUT = (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE)
IGNORED = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)


def code_version(module: str) -> str:
    """The version of a module and of the modules that it can import."""
    return version(closure(module))


def describe(module: str, package: Path = PACKAGE) -> str:
    """The version of a module's code in words, as `snakemake -n` shows a changed one."""
    reached = closure(module, package)
    others = len(reached) - 1
    imported = f" and {others} module{'s' if others > 1 else ''} it imports" if others else ""
    return f"{module}{imported}, version {version(reached)}"


def version(modules: dict[str, Path]) -> str:
    """Eight hexadecimal digits for the names and the meaning of the code of `modules`."""
    hashes = {name: source_hash(path) for name, path in modules.items()}
    for name, path in modules.items():
        if path.name == "__init__.py":  # a package's templates lie beside its modules
            hashes |= {
                f"{name}/{file.name}": content_hash([file]) for file in path.parent.glob("*.j2")
            }
    digest = hashlib.sha256()
    for name, found in sorted(hashes.items()):
        digest.update(f"{name} {found}\n".encode())
    return digest.hexdigest()[:8]


def closure(module: str, package: Path = PACKAGE) -> dict[str, Path]:
    """Name and file of `module` and of all of the package's modules that it can import.

    Imports inside functions count; those under `if TYPE_CHECKING:` do not. Of a parent package only
    the top-level imports count, since functions in its `__init__` load the API on request.

    Raises:
        ModuleNotFoundError: the package has no such module.
    """
    if _file_of(module, package) is None:
        raise ModuleNotFoundError(f"{package.parent} has no module {module}")
    found: dict[str, Path] = {}
    waiting = [(module, True)]
    seen: set[tuple[str, bool]] = set()
    while waiting:
        name, whole = waiting.pop()
        path = _file_of(name, package)
        if path is None or (name, whole) in seen:
            continue
        seen.add((name, whole))
        found[name] = path
        wanted = [name, *_imports(path, name, whole or path.name != "__init__.py")]
        for parts in (other.split(".") for other in wanted):
            waiting += [(".".join(parts[:depth]), False) for depth in range(1, len(parts) + 1)]
            if len(parts) > 1 and _file_of(".".join(parts), package) is None:
                # A name in a module or an __init__, and the modules that are loaded for it.
                waiting.append((".".join(parts[:-1]), True))
    return found


@cache
def source_hash(path: Path) -> str:
    """Hash of a Python file's tokens without comments, bare strings and blank lines.

    A bare string is a statement of its own, such as a docstring.
    """
    digest = hashlib.sha256()
    for statement in _statements(path.read_text(encoding="utf-8")):
        content = [token for token in statement if token.type not in LAYOUT]
        if content and all(token.type == tokenize.STRING for token in content):
            statement = [token for token in statement if token.type in LAYOUT[:2]]
        for token in statement:
            text = "" if token.type in LAYOUT else token.string
            digest.update(f"{tokenize.tok_name[token.type]}\0{text}\0".encode())
    return digest.hexdigest()


def content_hash(paths: Iterable[Path]) -> str:
    """Twelve hexadecimal digits for the content of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _statements(source: str) -> Iterator[list[tokenize.TokenInfo]]:
    """The tokens of each logical line, with the changes of indentation before it."""
    statement = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in IGNORED:
            continue
        statement.append(token)
        if token.type == tokenize.NEWLINE:
            yield statement
            statement = []
    yield statement


@cache
def _imports(path: Path, name: str, whole: bool) -> list[str]:
    """Absolute names of what a file imports; with `whole`, inside its functions too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names = []
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"), filename=str(path))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names += [f"{base}.{alias.name}" if alias.name != "*" else base for alias in node.names]
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting += node.orelse
        elif whole or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return names


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@cache
def _file_of(module: str, package: Path) -> Path | None:
    """The source file of a module or package inside `package`, if there is one."""
    if module.split(".")[0] != package.name:
        return None
    path = package.parent.joinpath(*module.split("."))
    for candidate in (path / "__init__.py", path.with_name(path.name + ".py")):
        if candidate.is_file():
            return candidate
    return None
