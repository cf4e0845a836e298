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
