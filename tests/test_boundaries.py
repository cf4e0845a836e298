"""What neither ruff nor the import contracts of pyproject.toml can say: no pickle is opened, no file grows long, what is imported is declared and locked."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for path in (ROOT / "app.py", *sorted((ROOT / "assistant").rglob("*.py")), *sorted((ROOT / "ui").rglob("*.py")))}


def test_no_pickle_is_ever_opened() -> None:
    assert not [name for name, text in FILES.items() if any(way in text for way in ("torch.load(", "pickle.load", "use_safetensors=False"))]


def test_no_circle_of_files() -> None:
    """The layers leave files inside one package free; a circle there, or through an exception to the layers, is told by a CycleError."""
    graph = grimp.build_graph("assistant", "ui", cache_dir=None)
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()


def test_files_stay_short() -> None:
    long = {name: lines for name, text in FILES.items() if (lines := len(text.splitlines())) > 600}
    assert not long, f"does each still do one thing? {long}"


def _named(file: str) -> set[tuple[str, str]]:
    """(name, version) of every line of a requirements file, names in lower case with dashes."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    return {(re.sub(r"[._]+", "-", name).lower(), version) for name, version in found}


@pytest.mark.slow
def test_what_is_imported_is_declared() -> None:
    declared = {name for file in ("requirements.txt", "tests/requirements.txt") for name, _ in _named(file)}
    homes, own = packages_distributions(), {"assistant", "ui", "spaces", "pillow_heif"}  # the last two are asked for, and done without
    wanted = {node.module if isinstance(node, ast.ImportFrom) else alias.name for text in FILES.values() for node in ast.walk(ast.parse(text))
              if isinstance(node, ast.Import) or isinstance(node, ast.ImportFrom) and not node.level for alias in node.names}
    tops = {name.split(".")[0] for name in wanted} - sys.stdlib_module_names - own
    assert not {top for top in tops if not declared & {re.sub(r"[._]+", "-", home).lower() for home in homes.get(top, [top])}}


def test_what_is_declared_is_locked() -> None:
    """`requirements.lock` is made by `uv pip compile`, as CONTRIBUTING.md says."""
    assert _named("requirements.txt") | _named("tests/requirements.txt") <= _named("requirements.lock")


def test_the_four_walks_are_short_and_their_files_are_there() -> None:
    """docs/architecture.md: a chat turn, a concept, a strip, a grid."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    walks = [re.findall(r"`([\w/]+\.py)`", line) for line in text.splitlines() if " -> `" in line and line.startswith("`ui/")]
    assert [len(walk) <= most for walk, most in zip(walks, (20, 18, 18, 18), strict=True)] == [True] * 4
    assert not [file for walk in walks for file in walk if (file if file.startswith("ui/") else f"assistant/{file}") not in FILES]
