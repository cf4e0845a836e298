"""The Concepts panel without a browser: its cards, its values, its addresses, and what a hand-made client gets."""

from pathlib import Path

import pytest

from assistant.customization.concept_library import Entry
from assistant.requests import DatasetAdvice, Settings
from assistant.session.records import TrainingJob
from tests.client import HOSTILE, handler, join, sign_in, turn
from tests.fake_engine import draw, photo_of, png_of
from tests.lessons import task, until
from ui import concept_cards as cards
from ui.concepts_panel import options, strengths
from ui.presenters import user_message

ROOT = Path(__file__).resolve().parents[2]


def lesson(**values) -> TrainingJob:
    return TrainingJob(**{"id": 7, "owner": "o", "created": 0, "updated": 0, "kind": "infusion", "name": "tom", "noun": "cat",
                     "pictures": ("ab" * 32,), "steps": 300, "step": 120, **values})


@pytest.mark.parametrize(("values", "before", "said", "acts"), [
    ({"status": "running", "left": 41.0}, 0, "Learning, step 120 of 300, about 41 s left", ("stop",)),
    ({"status": "running", "left": 240.0}, 0, "about 4 min left", ("stop",)),
    ({"status": "running", "steps": 0, "step": 0}, 0, "Looking at the pictures", ("stop",)),
    ({"status": "waiting"}, 2, "Waiting: 2 lessons are learned first.", ("stop",)),
    ({"status": "interrupted"}, 0, "The program ended at step 120 of 300; that is kept.", ("resume", "drop")),
    ({"status": "interrupted", "step": 0}, 0, "It had not begun when the program ended.", ("resume", "drop")),
    ({"status": "failed", "error": HOSTILE}, 0, "Broken off at step 120 of 300.", ("resume", "drop"))])
def test_a_lesson_says_how_it_stands_and_what_can_be_done(values, before, said, acts):
    html = cards.lessons([(lesson(**values), before)])
    assert said in html and "<script" not in html
    for act in ("stop", "resume", "drop"):
        assert (f'data-act="concepts.{act}"' in html) == (act in acts)


def test_one_card_says_what_a_name_can_do_and_what_it_could_learn_too():
    mine = Entry("Tom", "cat", "", 300, 4096, b"", kind="infusion")
    both = [mine, Entry("Tom", "cat", "", 200, 2**20, b"", kind="ico")]
    done, stopped = lesson(name="tom", status="done", losses=(2.0, 1.0)), lesson(id=8, name="tom", kind="ico", status="stopped")
    one, two = cards.shelf([mine], [done], {"infusion": 40.0, "ico": 50.4}), cards.shelf(both, [stopped, done], {"infusion": 40.0, "ico": None})
    assert 'data-arg="Tom ico"' in one and "Learn it for the likeness slider too, 50 s" in one and "Open the slider" not in one and "curve" in one
    assert two.count("<article") == 1 and "concepts.also" not in two and "Open the slider" in two and "1024.0 KB" in two and "4.0 KB" in two
    assert "Stopped at step 120 of 300" in two and "Export for the likeness slider" in two
    assert "concepts.also" not in cards.shelf([mine], [], {"ico": 50.0})  # its photos are not kept


def test_a_curve_is_calm_and_short():
    html = cards.curve([1 / (1 + n) + 5 * (n % 20 == 19) for n in range(1000)], 1000)
    ys = [float(point.split(",")[1]) for point in html.split('points="')[1].split('"')[0].split()]
    assert len(ys) <= 170 and ys == sorted(ys)  # single jumps are not shown, and the loss falls
    assert cards.curve([1.0], 10) == ""


def test_markup_is_shown_and_not_obeyed():
    shelf = cards.shelf([Entry("tom", HOSTILE, HOSTILE, 3, 4000, png_of(draw(1)), kind="ico"), Entry("odd", "", "", 0, 9, b"", HOSTILE)])
    told = cards.notice(HOSTILE) + cards.tried([(HOSTILE, None)]) + cards.chosen([photo_of(1)], [None], DatasetAdvice("", (HOSTILE,)))
    for html in (shelf, told, user_message_of("see <tom> and <script>alert(1)</script>")):
        assert "<script" not in html and "<img src=x" not in html
    assert '<span class="named">&lt;tom&gt;</span>' in user_message_of("see <tom>")


def user_message_of(text: str) -> str:
    return user_message(turn(text=text))["content"]


def test_values_of_a_browser_are_brought_into_range():
    assert strengths(Settings(), '{"tom": 0.5, "a": 1, "b": 9, "c": "x", "d": null}').strengths == {"tom": 0.5, "b": 2.0}
    for rubbish in ("", "{", "[1]", "7", None, 5, '{"a": NaN}'):
        assert strengths(Settings(), rubbish) == Settings()
    assert options("infusion", 300, 1e9, "x", 1) == {"steps": 2000, "residuals": 1, "flip": True}
    assert options("ico", 100, 0, 1, False) == {"steps": 100, "flip": False} and options("ico", 100, 5, 1, False)["steps"] == 20


def test_concepts_are_served_to_their_owner_only_and_no_file_of_this_computer_is_read(served):
    manager, store, url = served
    ada, eve, nobody = sign_in(url, "ada", "one"), sign_in(url, "eve", "two"), sign_in(url)
    one = manager.learning.begin("user:ada", task("tom", steps=3))
    until(lambda: manager.learning.lesson(one.id, "user:ada").status == "done")
    preview = manager.learning.lesson(one.id, "user:ada").previews[0][1]
    for path in ("concepts/tom.png", "concepts/tom.safetensors", f"pictures/{preview}.png"):
        assert ada.get(path).status_code == 200
        assert eve.get(path).status_code == nobody.get(path).status_code == 404
    assert "attachment" in ada.get("concepts/tom.safetensors").headers["content-disposition"]
    for path in ("concepts/..%2F..%2Fconversations.png", "concepts/tom.txt", "concepts/none.safetensors"):
        assert ada.get(path).status_code == 404
    for path in (store.folder / "conversations.sqlite3", ROOT / "app.py"):
        given = [{"path": str(path), "meta": {"_type": "gradio.FileData"}}]
        answer = join(ada, handler(ada, "_add"), [given, ""])
        assert "SQLite" not in answer and "picked" not in answer
        join(ada, handler(ada, "_import"), given)
        assert [e.name for e in manager.learning.library("user:ada").entries()] == ["tom"]
