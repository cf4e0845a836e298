"""What neither ruff nor the import contracts of pyproject.toml can say: no pickle is opened, no file grows long."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for path in (ROOT / "app.py", *sorted((ROOT / "assistant").rglob("*.py")), *sorted((ROOT / "ui").rglob("*.py")))}


def test_no_pickle_is_ever_opened() -> None:
    assert not [name for name, text in FILES.items() if any(way in text for way in ("torch.load(", "pickle.load", "use_safetensors=False"))]


def test_files_stay_short() -> None:
    long = {name: lines for name, text in FILES.items() if (lines := len(text.splitlines())) > 600}
    assert not long, f"does each still do one thing? {long}"
