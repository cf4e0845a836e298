"""Where conversations live: SQLite for words and settings, files named by their SHA-256 for pictures.

A file is durable before the row that points to it, so a crash leaves at worst a picture nobody points to. Schema
changes are new files in `schema/`; none is edited. Knows no engine and no page; while serving, only this
writes to disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import NotFoundError, StorageError
from ..files import FRESH, fsync_folder, png_size, write_whole
from ..requests import Photo, Settings
from .records import Conversation, Findings, StoredTurn, turn_of

_log = logging.getLogger(__name__)

TITLE_CHARACTERS = 60
PATIENCE = 10.0  # seconds that a write waits for another program that holds the database
TRASH_SECONDS = 24 * 3600  # a deleted conversation can be brought back for this long

# Whose each kept picture is, and whether it is in sight: every column that names one.
_NAMED = " UNION ALL ".join(
    [f"SELECT c.owner, {value} AS name, c.deleted IS NULL AS shown FROM turns t JOIN conversations c "
     f"ON c.id = t.conversation_id{more}" for value, more in (("t.photo", ""), ("t.picture", ""), ("t.mask", ""), ("e.value", " JOIN json_each(t.others) e"))]
    + [f"SELECT l.owner, {value} AS name, l.status <> 'dropped' AS shown FROM lessons l, json_each(l.{column}) e"
       for column, value in (("pictures", "e.value"), ("masks", "e.value"), ("previews", "json_extract(e.value, '$[1]')"))]
    + ["SELECT b.owner, e.value AS name, b.deleted IS NULL AS shown FROM boards b, json_each(b.pictures) e",
       "SELECT s.owner, e.value AS name, 1 AS shown FROM strips s, json_each(s.pictures) e", "SELECT m.owner, m.mask AS name, 1 AS shown FROM masks m"])


class Store:
    """Thread-safe. One process at a time owns a data directory.

    Raises (everywhere):
        StorageError: the directory cannot be read or written.
        NotFoundError: no such conversation, turn or picture, or it is another owner's.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()
        self._lock, self._reading = threading.RLock(), threading.Lock()
        self._held: dict[tuple[str, int], dict[str, Any]] = {}  # by table and id: columns that `end` could not write yet
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(self.folder, 0o700)
            self.files = PictureFiles(self.folder / "pictures")
            self._guard = _claim(self.folder)
            database = self.folder / "conversations.sqlite3"
            os.close(os.open(database, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite's side files take them over
            # The second reads alone: while a write waits, what is there can be looked at (write-ahead logging).
            self._db, self._reader = (sqlite3.connect(database, check_same_thread=False, isolation_level=None, timeout=PATIENCE) for _ in range(2))
            self._reader.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            migrate(self._db)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"The data folder {self.folder} cannot be used ({error}).",
                               "Give another one with --data-dir.") from error
        self._sweep()

    def close(self) -> None:
        with self._lock, self._reading:
            if self._held:
                self._written()
            self._db.close()
            self._reader.close()
            self._guard.release()

    # conversations

    def create(self, owner: str, title: str = "") -> Conversation:
        now = time.time()
        one = Conversation(secrets.token_urlsafe(12), owner, title, now, now)
        with self.transaction() as db:
            db.execute("INSERT INTO conversations (id, owner, title, created, updated) VALUES (?, ?, ?, ?, ?)",
                       (one.id, owner, title, now, now))
        return one

    def conversations(self, owner: str, limit: int = 200) -> list[Conversation]:
        """This owner's, last used first."""
        rows = self.rows("SELECT id, owner, title, created, updated, (SELECT COALESCE(t.picture, t.photo) FROM turns t WHERE t.conversation_id = c.id "
                         "AND COALESCE(t.picture, t.photo) IS NOT NULL ORDER BY t.id DESC LIMIT 1) AS cover FROM conversations c "
                         "WHERE owner = ? AND deleted IS NULL ORDER BY updated DESC LIMIT ?", (owner, limit))
        return [Conversation(**dict(row)) for row in rows]

    def conversation(self, conversation_id: str, owner: str) -> Conversation:
        rows = self.rows("SELECT id, owner, title, created, updated FROM conversations "
                          "WHERE id = ? AND owner = ? AND deleted IS NULL", (conversation_id, owner))
        if not rows:
            raise NotFoundError("This conversation is not here any more.", "Start a new one.")
        return Conversation(**dict(rows[0]))

    def rename(self, conversation_id: str, owner: str, title: str) -> None:
        self._change("UPDATE conversations SET title = ? WHERE id = ? AND owner = ? AND deleted IS NULL",
                     (" ".join(title.split())[:TITLE_CHARACTERS], conversation_id, owner))

    def delete(self, conversation_id: str, owner: str) -> None:
        """Out of sight now, off the disk at a start after TRASH_SECONDS; `restore` brings it back until then."""
        self._change("UPDATE conversations SET deleted = ? WHERE id = ? AND owner = ? AND deleted IS NULL",
                     (time.time(), conversation_id, owner))

    def restore(self, conversation_id: str, owner: str) -> None:
        self._change("UPDATE conversations SET deleted = NULL WHERE id = ? AND owner = ?", (conversation_id, owner))

    # turns

    def add_turn(self, conversation_id: str, owner: str, text: str, photo: Photo | None, settings: Settings,
                 redraw_of: int | None = None, others: Sequence[Photo] = (), board: str | None = None,
                 metadata: Mapping[str, Any] | None = None, mask: str | None = None) -> StoredTurn:
        """Keep what a person said, before anything answers. Gives an untitled conversation a title."""
        self.conversation(conversation_id, owner)
        for one in (*((photo,) if photo else ()), *others):
            self.files.keep(one.png)
        names = tuple(one.sha256 for one in others)
        now = time.time()
        title = " ".join(text.split())[:TITLE_CHARACTERS] or "A picture"
        with self.transaction() as db:
            turn_id = db.execute(
                "INSERT INTO turns (conversation_id, created, text, photo, settings, redraw_of, others, board, metadata, mask) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (conversation_id, now, text, photo.sha256 if photo else None, json.dumps(asdict(settings)),
                 redraw_of, json.dumps(names), board, json.dumps(dict(metadata or {})), mask)).lastrowid
            db.execute("UPDATE conversations SET updated = ?, title = CASE title WHEN '' THEN ? ELSE title END "
                       "WHERE id = ?", (now, title, conversation_id))
        assert turn_id is not None  # a row was inserted
        return StoredTurn(turn_id, conversation_id, now, text, photo.sha256 if photo else None, settings,
                          redraw_of=redraw_of, others=names, board=board, mask=mask)

    def update_turn(self, turn_id: int, wait: float | None = None, **values: Any) -> None:
        """Set columns of a turn. `picture` is the PNG's bytes: they are durable before the row is. `wait`: as of `transaction`."""
        if isinstance(values.get("picture"), bytes):
            values["picture"] = self.files.keep(values["picture"])
        for name in ("settings", "metadata", "likeness", "seconds"):
            if name in values:
                value = values[name]
                values[name] = json.dumps(asdict(value) if isinstance(value, Settings) else value, default=str)
        columns = {f.name for f in fields(StoredTurn)} - {"id", "conversation_id", "created"}
        if not values or not set(values) <= columns:
            raise ValueError(f"not columns of a turn: {sorted(set(values) - columns)}")
        self._change(f"UPDATE turns SET {', '.join(f'{name} = ?' for name in values)} WHERE id = ?",
                     (*values.values(), turn_id), wait)

    def end(self, table: str, number: int, **values: Any) -> bool:
        """Set columns of a turn or a lesson that is over, whatever happens: what cannot be written now is held, told by every look at the row, and
        written before whatever is written next. Returns whether it is written. A row that is still held when the process dies is an interrupted one."""
        with self._lock:
            self._held.setdefault((table, number), {}).update(values)
        return self._written()

    def now(self, table: str, row: sqlite3.Row) -> dict[str, Any]:
        """A row, with what is held of it."""
        return {**row, **self._held.get((table, row["id"]), {})}

    def turns(self, conversation_id: str, owner: str) -> list[StoredTurn]:
        """Oldest first."""
        self.conversation(conversation_id, owner)
        return [turn_of(self.now("turns", row)) for row in self.rows("SELECT * FROM turns WHERE conversation_id = ? ORDER BY id",
                                                                     (conversation_id,))]

    def turn(self, turn_id: int, owner: str) -> StoredTurn:
        rows = self.rows("SELECT t.* FROM turns t JOIN conversations c ON c.id = t.conversation_id "
                          "WHERE t.id = ? AND c.owner = ? AND c.deleted IS NULL", (turn_id, owner))
        if not rows:
            raise NotFoundError("This turn is not here any more.", "Reload the page.")
        return turn_of(self.now("turns", rows[0]))

    def gallery(self, owner: str) -> list[StoredTurn]:
        """The last 24 turns that drew a picture, newest first."""
        return [turn_of(dict(row)) for row in self.rows(
            "SELECT t.* FROM turns t JOIN conversations c ON c.id = t.conversation_id WHERE c.owner = ? "
            "AND c.deleted IS NULL AND t.picture IS NOT NULL ORDER BY t.id DESC LIMIT 24", (owner,))]

    # pictures

    def read_picture(self, name: str) -> bytes:
        """Asks for no owner: see `picture_for`."""
        return self.files.read(name)

    def photo(self, name: str, mask: str | None = None) -> Photo:
        """As `read_picture`, a value. `mask`: the name of its painted mask."""
        png = self.files.read(name)
        return Photo(png, *png_size(png), name, self.read_mask(mask) if mask else None)

    def read_mask(self, name: str) -> bytes | None:
        """As `read_picture`; None: it is lost, and the subject can be found without."""
        try:
            return self.files.read(name)
        except NotFoundError:
            _log.warning("the mask %s is missing", name)
            return None

    def mask(self, owner: str, photo: str) -> str | None:
        """The name of the mask that this owner painted of a photo; None: there is none."""
        rows = self.rows("SELECT mask FROM masks WHERE owner = ? AND photo = ?", (owner, photo))
        return rows[0][0] if rows else None

    def keep_mask(self, owner: str, photo: str, mask: bytes | None) -> None:
        """From now on this mask (PNG) is that of a photo; None: there is none any more. Turns keep theirs."""
        name = self.files.keep(mask) if mask is not None else None
        with self.transaction() as db:
            db.execute("DELETE FROM masks WHERE owner = ? AND photo = ?", (owner, photo))
            if name is not None:
                db.execute("INSERT INTO masks (owner, photo, mask) VALUES (?, ?, ?)", (owner, photo, name))

    def picture_for(self, owner: str, name: str) -> bytes:
        """The bytes of a picture that appears in one of this owner's conversations, lessons, boards or strips."""
        rows = self.rows(f"SELECT 1 FROM ({_NAMED}) WHERE owner = ? AND name = ? AND shown LIMIT 1", (owner, name))
        if not rows:
            raise NotFoundError("This picture is not here.", "Reload the page.")
        return self.read_picture(name)

    def verify(self) -> Findings:
        """Read every picture and compare it with its name."""
        named = self._named()
        files = self.files.names()
        return Findings(tuple(sorted(named - files)), tuple(sorted(self.files.damaged())), tuple(sorted(files - named)))

    # inside

    def _sweep(self) -> None:
        """At a start: what ran when the last process ended was interrupted; old deletions become final."""
        with self.transaction() as db:
            db.execute("UPDATE turns SET status = 'interrupted' WHERE status IN ('waiting', 'running')")
            db.execute("UPDATE lessons SET status = 'interrupted' WHERE status IN ('waiting', 'running')")
            db.execute("DELETE FROM lessons WHERE status = 'dropped' AND updated < ?", (time.time() - TRASH_SECONDS,))
            db.execute("DELETE FROM conversations WHERE deleted < ?", (time.time() - TRASH_SECONDS,))
            db.execute("DELETE FROM boards WHERE deleted < ?", (time.time() - TRASH_SECONDS,))
            db.execute(f"DELETE FROM masks WHERE (owner, photo) NOT IN (SELECT owner, name FROM ({_NAMED}) WHERE name IS NOT NULL)")
        self.files.sweep(keep=self._named())

    def _named(self) -> set[str]:
        """Pictures that any row points to."""
        return {row[0] for row in self.rows(f"SELECT name FROM ({_NAMED}) WHERE name IS NOT NULL")}

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        try:
            with self._reading:
                return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"The conversations in {self.folder} cannot be read ({error}).",
                               "Check the folder and start again.") from error

    @contextmanager
    def transaction(self, wait: float | None = None) -> Iterator[sqlite3.Connection]:
        """`wait`: seconds for another program to let go of the database; None: PATIENCE."""
        try:
            with self._lock:
                self._db.execute(f"PRAGMA busy_timeout = {round(1000 * (PATIENCE if wait is None else wait))}")
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    for (table, number), values in self._held.items():
                        self._db.execute(f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in values)} WHERE id = ?", (*values.values(), number))
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # a full disk has rolled it back itself
                        self._db.execute("ROLLBACK")
                    raise
                self._held = {}
        except sqlite3.Error as error:
            raise StorageError(f"The conversations in {self.folder} cannot be saved ({error}).",
                               "Free some space or check the folder's permissions.") from error

    def _written(self) -> bool:
        try:
            with self.transaction():
                return True
        except StorageError:
            _log.exception("%d ends of turns and lessons cannot be written yet", len(self._held))
            return False

    def _change(self, sql: str, values: tuple[Any, ...], wait: float | None = None) -> None:
        with self.transaction(wait) as db:
            if db.execute(sql, values).rowcount == 0:
                raise NotFoundError("This conversation is not here any more.", "Start a new one.")


def _claim(folder: Path) -> FileLock:
    """Hold the folder for this process: two would mark each other's running turns as interrupted."""
    lock = FileLock(folder / "lock", mode=0o600, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise StorageError(f"Another assistant already uses the data folder {folder}.",
                           "Stop it, or give this one its own with --data-dir.") from error
    return lock


class PictureFiles:
    """Files lie in sub-folders named by the first two digits; only the owner of the process may read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, png: bytes) -> str:
        """Write a picture; on return it survives a loss of power. Returns its name.

        Raises:
            StorageError: it cannot be written.
        """
        name = hashlib.sha256(png).hexdigest()
        path = self._path(name)
        try:
            if path.exists() and path.stat().st_size == len(png):
                return name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_whole(path, png)
            fsync_folder(self.folder)
        except OSError as error:
            raise StorageError(f"A picture could not be saved in {self.folder} ({error.strerror or error}).",
                               "Free some space or check the folder's permissions.") from error
        return name

    def read(self, name: str) -> bytes:
        """Raises NotFoundError: no such file, or not a name of ours."""
        try:
            return self._path(name).read_bytes()
        except OSError as error:
            raise NotFoundError("A picture of this conversation is missing from the data folder.",
                                "Add the picture again.") from error

    def names(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*/*.png")}

    def damaged(self) -> set[str]:
        """Names of files whose bytes are not those they were written with. Reads all of them."""
        return {name for name in self.names() if hashlib.sha256(self.read(name)).hexdigest() != name}

    def sweep(self, keep: set[str]) -> None:
        """Remove half-written files and all that `keep` does not name. Only while nothing else writes here."""
        for leftover in self.folder.glob(f"*/{FRESH}*"):
            leftover.unlink(missing_ok=True)
        for stray in self.names() - keep:
            self._path(stray).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise NotFoundError("This picture is not here.", "Reload the page.")
        return self.folder / name[:2] / f"{name}.png"


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
