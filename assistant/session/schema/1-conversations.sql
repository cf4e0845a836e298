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
