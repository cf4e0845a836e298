"""The database's shape, as steps that are only ever appended. Knows only SQL."""

from __future__ import annotations

import sqlite3

from assistant.errors import StorageError

MIGRATIONS = (
    """
    CREATE TABLE conversations (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        title TEXT NOT NULL DEFAULT '',
        created REAL NOT NULL,
        updated REAL NOT NULL,
        deleted REAL
    );
    CREATE INDEX conversations_by_owner ON conversations (owner, updated);
    CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        created REAL NOT NULL,
        text TEXT NOT NULL,
        photo TEXT,
        settings TEXT NOT NULL,
        reply TEXT NOT NULL DEFAULT '',
        picture TEXT,
        seed INTEGER,
        status TEXT NOT NULL DEFAULT 'waiting'
            CHECK (status IN ('waiting', 'running', 'done', 'stopped', 'failed', 'interrupted')),
        error TEXT,
        redraw_of INTEGER REFERENCES turns (id) ON DELETE SET NULL,
        metadata TEXT NOT NULL DEFAULT '{}',
        likeness TEXT NOT NULL DEFAULT '{}',
        seconds TEXT NOT NULL DEFAULT '{}'
    );
    CREATE INDEX turns_by_conversation ON turns (conversation_id, id);
    CREATE INDEX turns_by_photo ON turns (photo);
    CREATE INDEX turns_by_picture ON turns (picture);
    """,
    """
    CREATE TABLE lessons (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL COLLATE NOCASE,
        noun TEXT NOT NULL,
        pictures TEXT NOT NULL,
        masks TEXT NOT NULL,
        options TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'waiting'
            CHECK (status IN ('waiting', 'running', 'done', 'stopped', 'failed', 'interrupted', 'dropped')),
        attempt INTEGER NOT NULL DEFAULT 0,
        step INTEGER NOT NULL DEFAULT 0,
        steps INTEGER NOT NULL DEFAULT 0,
        losses TEXT NOT NULL DEFAULT '[]',
        previews TEXT NOT NULL DEFAULT '[]',
        error TEXT
    );
    CREATE INDEX lessons_by_owner ON lessons (owner, id);
    """,
    """
    CREATE TABLE boards (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        deleted REAL,
        content TEXT NOT NULL,
        pictures TEXT NOT NULL
    );
    CREATE INDEX boards_by_owner ON boards (owner, updated);
    ALTER TABLE turns ADD COLUMN others TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE turns ADD COLUMN board TEXT;
    """,
)


def migrate(db: sqlite3.Connection) -> None:
    """Bring a database (in autocommit mode) up to date, each step whole or not at all.

    Raises:
        StorageError: the database was made by a later version.
    """
    have = db.execute("PRAGMA user_version").fetchone()[0]
    if have > len(MIGRATIONS):
        raise StorageError(f"The data folder was made by a later version (schema {have}; this one knows "
                           f"{len(MIGRATIONS)}).", "Update the program, or give another folder with --data-dir.")
    for number, script in enumerate(MIGRATIONS[have:], start=have + 1):
        db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
