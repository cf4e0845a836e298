"""Who may import whom: the table of the house, read from the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# package -> what it may import of the project, beside itself and errors
ALLOWED: dict[str, set[str]] = {
    "app": {"ui", "session", "pipeline", "presets", "deferred", "places"},
    "ui": {"session", "messages", "plan", "board", "strip"},
    "session": {"messages", "plan", "board", "strip", "files"}, "files": set(),
    "board": {"messages"}, "strip": {"messages"}, "background": {"messages"}, "png": set(),
    "dialogue_state": {"messages", "plan"},
    "drawers": {"dialogue_state", "mllm", "control", "decoder", "conditioning", "config", "messages", "plan", "mixing.vectors"},
    "mixing": {"drawers", "decoder", "conditioning", "messages", "board", "background", "png",
               "pipeline"},  # of the pipeline its type only: an engine with the encoders to use
    "pipeline": {"mllm", "drawers", "concepts", "decoder", "config", "messages", "plan", "loading", "deferred", "looking",
                 "mixing", "board", "background", "png", "strip"},
    "loading": {"pipeline", "drawers", "decoder", "presets", "weights", "manifest", "deferred", "published", "messages", "config", "parts", "places", "memory",
                "residence", "sparing"},
    "manifest": {"files"}, "deferred": {"config", "manifest", "messages", "parts"}, "looking": {"mllm", "plan"},
    "memory": {"blueprint", "config"}, "residence": {"memory"}, "sparing": {"memory", "messages"},
    "weights": {"mllm", "control", "decoder", "conditioning", "config", "files"},
    "published": {"weights", "drawers", "mllm", "control", "config"},
    "blueprint": {"weights", "drawers", "mllm", "control", "config"}, "places": set(),
    "parts": {"config", "manifest", "places"}, "hub": {"config", "manifest", "parts"},
    "control": {"decoder.attention", "decoder.rows", "conditioning"},
    "mllm": {"conditioning", "config", "messages", "plan"},
    "decoder": {"conditioning", "config"},
    "concepts": {"dialogue_state", "plan", "control", "decoder", "conditioning", "messages", "background", "files", "png", "strip"},
    "conditioning": set(), "errors": set(), "messages": {"plan"}, "plan": set(), "config": set(), "presets": {"config"},
    "doctor": {"decoder", "presets", "manifest", "loading", "memory", "parts", "config"},
    "bench": {"concepts", "conditioning", "control", "decoder", "messages", "pipeline", "board", "blueprint", "config", "loading", "mllm", "presets", "residence"},
}
_MODEL = {"plan", "mllm", "control", "concepts", "decoder", "conditioning", "config", "presets", "weights", "manifest", "deferred", "pipeline", "messages", "board", "mixing", "png"}
ALLOWED |= {"training": _MODEL | {"miniature", "evaluation", "files", "parts", "blueprint", "bench.timing"}, "evaluation": _MODEL | {"miniature", "training", "drawers", "files"},
            "miniature": _MODEL | {"training"}}


def _package(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "assistant" and len(parts) > 1 else parts[0]


def _imports(path: Path) -> set[str]:
    """Dotted names inside the project that a file imports, without the leading `assistant`."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(p for p in (base, node.module or "") if p)
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    inside = {name for name in found if name.split(".")[0] in ("assistant", "ui", "app")}
    return {name.removeprefix("assistant.") for name in inside if name != "assistant"}


FILES = [p for p in [ROOT / "app.py", *sorted((ROOT / "assistant").rglob("*.py")), *sorted((ROOT / "ui").rglob("*.py"))]
         if p.name not in ("__init__.py",) and _package(p) != "__main__"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_stay_inside_the_table(path: Path) -> None:
    package = _package(path)
    allowed = ALLOWED[package] | {package, "errors"}
    # `from ..config import X` is seen as config and config.X: a name is fine if it, or a package above it, is allowed
    wrong = {name for name in _imports(path)
             if not any(name == a or name.startswith(a + ".") or a.startswith(name + ".") for a in allowed)}
    assert not wrong, f"{package} must not import {sorted(wrong)}"


def test_the_table_catches_a_wrong_import(tmp_path: Path) -> None:
    assert "ui" not in ALLOWED["session"] and "control" not in ALLOWED["decoder"]
    assert {"decoder.attention"} <= _imports(ROOT / "assistant/control/cafe.py")


@pytest.mark.parametrize("package, forbidden", [("session", "torch"), ("assistant", "gradio"), ("ui", "torch")])
def test_libraries_stay_where_they_belong(package: str, forbidden: str) -> None:
    folder = ROOT / package if package in ("assistant", "ui") else ROOT / "assistant" / package
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(
                node, ast.ImportFrom) and not node.level else []
            assert not any(n.split(".")[0] == forbidden for n in names), f"{path} imports {forbidden}"


def test_no_pickle_is_ever_opened() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "torch.load(" not in text and "pickle.load" not in text and "use_safetensors=False" not in text, path


def test_files_stay_short() -> None:
    long = {p.relative_to(ROOT).as_posix(): n for p in FILES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 350}
    assert not long, f"does each still do one thing? {long}"
