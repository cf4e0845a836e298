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
