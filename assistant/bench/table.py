"""A table that is printed line by line as it is measured, and written as Markdown at the end. Knows nothing of what is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

NOT_MEASURED = "not measured"


@dataclass
class Table:
    """Lines of what, value and note."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, value: str = NOT_MEASURED, note: str = "") -> None:
        """Print a line and keep it. A value that was not measured carries the reason as its note."""
        self.lines.append((what, value, note))
        print(f"{what:<44}{value:>14}   {note}".rstrip(), flush=True)

    def ratio(self, what: str, found: float, peer: str, most: float | None = None) -> None:
        """Of two times in one run; `most` is the largest that is wanted."""
        self.add(what, f"{found:.2f} x", peer + (f", at most {most:.2f} wanted" if most is not None else ""))

    def markdown(self) -> str:
        rows = [f"| {what} | {value} | {note} |" for what, value, note in self.lines]
        return "\n".join(["| | | |", "|---|---|---|", *rows]) + "\n"

    def write(self, path: Path) -> None:
        path.write_text(self.markdown(), encoding="utf-8")
