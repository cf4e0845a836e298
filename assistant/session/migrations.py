"""Brings the database to its present shape, by the steps in `schema/`: files that are only ever added."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from assistant.errors import StorageError


def migrate(db: sqlite3.Connection) -> None:
    """Bring a database (in autocommit mode) up to date, each step whole or not at all.

    Raises:
        StorageError: the database was made by a later version.
    """
    steps = sorted((Path(__file__).parent / "schema").glob("*.sql"), key=lambda path: int(path.name.partition("-")[0]))
    have = db.execute("PRAGMA user_version").fetchone()[0]
    if have > len(steps):
        raise StorageError(f"The data folder was made by a later version (schema {have}; this one knows "
                           f"{len(steps)}).", "Update the program, or give another folder with --data-dir.")
    for number, path in enumerate(steps[have:], start=have + 1):
        db.executescript(f"BEGIN IMMEDIATE; {path.read_text(encoding='utf-8')} PRAGMA user_version = {number}; COMMIT;")
