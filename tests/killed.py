"""What a program that is ended by kill -9 leaves: `python tests/killed.py FOLDER KILLS SEED` kills one KILLS times, while turns, lessons, strips, grids, uploads
and deletions run in it, and looks each time at what is left. Prints what it counted, as JSON. Needs os.fork.
"""

import hashlib
import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from assistant.requests import Mix, Settings, Source, TrainingSpec  # noqa: E402
from assistant.session import training_jobs  # noqa: E402
from assistant.session.manager import SessionManager  # noqa: E402
from assistant.session.store import Store  # noqa: E402
from tests.fake_engine import FakeEngine, draw, photo_of, png_of  # noqa: E402
from tests.lessons import until  # noqa: E402

BUSY = ("waiting", "running")


class Load:
    """Everything at once, for one owner. What a person has seen is told, a line of JSON each, before anything else is done."""

    def __init__(self, folder: Path, told: Path, owner: str) -> None:
        self.file = os.open(told, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.manager, self.owner = SessionManager(FakeEngine(0.002), Store(folder)), owner
        training_jobs.SAVE_EVERY = 0.05

    def run(self) -> None:
        for work in (self.turns, self.turns, self.lessons, self.strips, self.grids, self.deletions):
            threading.Thread(target=self.again, args=(work,), daemon=True).start()
        self.tell("began")
        time.sleep(600)

    def again(self, work) -> None:
        for n in range(10**6):
            work(n)

    def tell(self, *said) -> None:
        os.write(self.file, (json.dumps([self.owner, *said]) + "\n").encode())

    def turns(self, n: int) -> None:
        where = self.manager.new(self.owner).id
        for k in range(3):
            photo = png_of(draw(random.randrange(10**6), 160)) if k != 1 else None
            reply = list(self.manager.send(where, f"wish {k}", photo, Settings(steps=3), self.owner))[-1]
            self.tell("answer", where, reply.text, hashlib.sha256(reply.png).hexdigest())

    def deletions(self, n: int) -> None:
        where = self.manager.new(self.owner).id
        self.manager.send(where, "soon gone", photo_of(n), Settings(steps=5), self.owner)
        time.sleep(random.uniform(0, 0.05))
        self.manager.delete(where, self.owner)
        self.tell("deleted", where)

    def lessons(self, n: int) -> None:
        lesson = self.manager.learning.begin(self.owner, TrainingSpec(f"c{n}", "mug", (photo_of(n),), options={"steps": 2 + 18 * (n % 2)}))
        until(lambda: not self.manager.learning.lesson(lesson.id, self.owner).open)
        self.tell("learned", lesson.name)

    def strips(self, n: int) -> None:
        for _ in self.manager.strips.watch(self.manager.strips.draw(self.owner, f"strip {n}", Settings(seed=n))):
            pass
        self.tell("strip", n)

    def grids(self, n: int) -> None:
        boards = self.manager.board_jobs
        board = boards.begin(self.owner, Mix((photo_of(n),), (Source(photo_of(n + 1)), Source(photo_of(n + 2)))), Settings()).id
        for kind in ("", "grid"):
            for _ in boards.watch(boards.draw(board, self.owner, Settings(), kind)):
                pass
            self.tell("board", board, kind, boards.boards.get(board, self.owner).pictures())
        boards.boards.add_reference(board, self.owner, photo := photo_of(n + 3))
        self.tell("board", board, "upload", [photo.sha256])


def look(folder: Path, told: Path) -> Counter:
    """What is left of all that was told; what was interrupted is done once more."""
    count = Counter()
    database = sqlite3.connect(folder / "conversations.sqlite3")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and database.execute("PRAGMA foreign_key_check").fetchall() == []
    cut = {table: {row[0] for row in database.execute(f"SELECT id FROM {table} WHERE status IN ('waiting', 'running')")} for table in ("turns", "lessons")}
    database.close()
    store = Store(folder)
    findings = store.verify()
    assert findings == type(findings)((), (), ()), findings
    for table, numbers in cut.items():
        status = dict(tuple(row) for row in store.rows(f"SELECT id, status FROM {table}"))
        assert {status[number] for number in numbers} <= {"interrupted"} and not set(status.values()) & set(BUSY)
    manager = SessionManager(FakeEngine(), store)
    for owner, what, *said in map(json.loads, told.read_text("utf-8").splitlines()):
        count[what] += 1
        if what == "answer":
            [row] = store.rows("SELECT picture FROM turns WHERE conversation_id = ? AND reply = ? AND picture = ?", tuple(said))
            assert manager.picture(row["picture"], owner)
        elif what == "deleted":
            assert said[0] not in {one.id for one in manager.list(owner)}
        elif what == "learned":
            assert said[0] in manager.learning.library(owner).names()
        elif what == "strip":
            kept = manager.strips.newest(owner)
            assert int(kept.prompt.split()[1]) >= said[0] and all(manager.picture(name, owner) for name in kept.pictures) and manager.strips.masks(owner)
        elif what == "board":
            board = manager.board_jobs.boards.get(said[0], owner)
            assert (board.cells if said[1] == "grid" else board.result) and set(said[2]) <= set(board.pictures()), said
            assert all(manager.picture(name, owner) for name in board.pictures())
    owner = json.loads(told.read_text("utf-8").splitlines()[-1])[0]
    for number in cut["turns"]:
        [row] = store.rows("SELECT c.deleted FROM turns t JOIN conversations c ON c.id = t.conversation_id WHERE t.id = ?", (number,))
        if row["deleted"] is None:
            assert list(manager.redraw(number, owner, Settings(steps=2)))[-1].png
            count["turns again"] += 1
    for number in cut["lessons"]:
        manager.learning.resume(number, owner)
        until(lambda: manager.learning.lesson(number, owner).status == "done")
        count["lessons again"] += 1
    if manager.strips.interrupted(owner):
        for _ in manager.strips.watch(manager.strips.again(owner)):
            pass
        assert manager.strips.interrupted(owner) is None and manager.strips.newest(owner).pictures
        count["strips again"] += 1
    for board in manager.board_jobs.boards.of(owner):
        if board.asked:
            for _ in manager.board_jobs.watch(manager.board_jobs.again(board.id, owner, Settings())):
                pass
            assert manager.board_jobs.boards.get(board.id, owner).asked is None
            count["boards again"] += 1
    manager.close()
    store.close()
    return count


def apart(work) -> int:
    """Do it in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def main(folder: Path, kills: int, seed: int) -> None:
    rng, count = random.Random(seed), Counter()
    for n in range(kills):
        told, found = folder / f"told-{n}", folder / "found"
        child = apart(lambda: (random.seed(rng.random()), Load(folder / "data", told, f"user:{n}").run()))
        until(lambda: told.exists() and told.stat().st_size)
        time.sleep(rng.uniform(0, 1.5))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "it ended by itself"
        looked = apart(lambda: found.write_text(json.dumps(look(folder / "data", told))))
        assert os.waitpid(looked, 0)[1] == 0, f"kill {n + 1}: what is left is not whole"
        count.update(json.loads(found.read_text()))
    print(json.dumps(count))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
